"""Which subjects are trained on, and which only ever measured on."""

from __future__ import annotations

from pathlib import Path

from synpose.errors import InvalidInput

__all__ = ["SPLITS", "motions_of"]

_VALIDATION, _TEST = ("01", "08"), ("03", "10", "12")
SPLITS = ("train", "validation", "test")
"""Of motions whose files are called SUBJECT_TRIAL, as CMU's are: split by subject, never by frame."""


def motions_of(folder: Path, split: str | None) -> list[Path]:
    """The BVH files of `folder`, searched deep and sorted, that belong to `split` (None: all).

    Subjects that CMU does not know train. Raises `InvalidInput` where there are none.
    """
    assert split is None or split in SPLITS, split
    chosen = [p for p in sorted(folder.rglob("*.bvh")) if split in (None, _split(p.stem.partition("_")[0]))]
    if not chosen:
        raise InvalidInput(f"no .bvh file{f' for {split}' if split else ''} in {folder}", field="motions")
    return chosen


def _split(subject: str) -> str:
    return "validation" if subject in _VALIDATION else "test" if subject in _TEST else "train"
