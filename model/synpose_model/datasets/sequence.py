"""What every dataset here gives: sequences of one scene seen by a rig, with the true joints of its people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from synpose.errors import InvalidInput
from synpose.rig import Rig
from synpose.skeleton import Skeleton

__all__ = ["Array", "Dataset", "MultiViewSequence", "Split", "folder_of", "found"]

Array = NDArray[np.float64]
Split = Literal["train", "test"]


@dataclass(frozen=True, eq=False)
class MultiViewSequence:
    """One recording: its cameras, its videos and, read when first asked for, its true `joints`.

    `videos` names the file or the folder of numbered images of each camera whose recording is on disk and whole; it
    may have fewer cameras than `rig`. `joints[:, 0]` belongs to frame `first` of the videos, or to the images of that
    number. `fps` is None where the release does not say.
    """

    name: str
    subject: str
    action: str
    rig: Rig
    videos: Mapping[str, Path]
    skeleton: Skeleton
    fps: float | None
    read: Callable[[], Array] = field(repr=False)
    first: int = 0

    @cached_property
    def joints(self) -> Array:
        """True joints `(P, T, J, 3)`: people in the order of their ids, metres, world frame of `rig`; NaN: unknown.

        Raises `InvalidInput` for a broken annotation, `ServerError` where the package that reads it is missing.
        """
        joints = self.read()
        assert joints.ndim == 4, joints.shape
        assert joints.shape[2:] == (len(self.skeleton), 3), joints.shape
        return joints


class Dataset(Protocol):
    """A folder with sequences, in the split that its literature uses."""

    def sequences(self, split: Split = "test") -> Iterator[MultiViewSequence]:
        """The sequences of `split` that are in the folder, one by one; only calibrations are read on the way.

        Raises `InvalidInput` if there are none, and for a calibration that is missing.
        """
        ...


def folder_of(path: Path) -> Path:
    """`path` if it is a folder, else `InvalidInput`."""
    if not path.is_dir():
        raise InvalidInput(f"there is no folder {path}", field="folder")
    return path


def found(sequences: Iterator[MultiViewSequence], missing: str) -> Iterator[MultiViewSequence]:
    """The same `sequences`; `InvalidInput` with the message `missing` if there are none."""
    none = True
    for sequence in sequences:
        none = False
        yield sequence
    if none:
        raise InvalidInput(missing, field="folder")
