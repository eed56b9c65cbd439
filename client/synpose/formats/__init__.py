"""Pose files: one table of formats, and how a path, a name or an Accept header chooses one.

A format is a module: `json` and `ndjson` are written and read, the others are written. TRC, C3D, BVH and RRD have no
registered media type; theirs here begin with `x-`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from synpose.errors import NotAcceptable, OptionsError
from synpose.formats import bvh, c3d, csv, glb, json, ndjson, npz, parquet, rrd, trc
from synpose.formats.upright import Up, up_axis
from synpose.pose import PoseSequence

__all__ = ["FORMATS", "Format", "files_of", "format_for_accept", "format_for_name", "format_for_path", "save"]


@dataclass(frozen=True)
class Format:
    """How an answer is written: its name, media type, file suffix and encoder.

    `knows_up`: the encoder takes the axis that points up, too. `one_person`: a file holds one person. `package` is
    what the encoder imports and `extra` what installs it.
    """

    name: str
    media_type: str
    suffix: str
    encode: Callable[..., bytes]
    knows_up: bool = False
    one_person: bool = False
    package: str | None = None
    extra: str | None = None

    def write(self, sequence: PoseSequence, up: Up | None = None, person: int | None = None) -> bytes:
        """`sequence`, or one person of it, as a file of this format.

        `up` is the axis of the world that points up, for the formats that need to know; without it the one nearest to
        people's trunks. A file of one person holds `person`, or the one in the most frames. Raises as `check` does,
        and `NotFound` for a person who never appears.
        """
        self.check()
        if person is not None:
            sequence = sequence.only(person)
        return self.encode(sequence, up or up_axis(sequence)) if self.knows_up else self.encode(sequence)

    @property
    def is_writable(self) -> bool:
        """Whether the format's package, if it needs one, is installed here."""
        return self.package is None or find_spec(self.package) is not None

    def check(self) -> None:
        """Raises `NotAcceptable` that says what to install where the format's package is missing."""
        if not self.is_writable:
            raise NotAcceptable(
                f"{self.suffix} files need {self.package}, which is not installed here:"
                f" pip install 'synpose[{self.extra}]'",
                field="format",
            )


FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        Format("json", "application/json", ".json", json.encode),
        Format("ndjson", "application/x-ndjson", ".ndjson", ndjson.encode),
        Format("csv", "text/csv", ".csv", csv.encode),
        Format("trc", "text/x-trc", ".trc", trc.encode, knows_up=True, one_person=True),
        Format("c3d", "application/x-c3d", ".c3d", c3d.encode, knows_up=True, package="ezc3d", extra="c3d"),
        Format("bvh", "text/x-bvh", ".bvh", bvh.encode, knows_up=True, one_person=True),
        Format("glb", "model/gltf-binary", ".glb", glb.encode, knows_up=True),
        Format(
            "parquet", "application/vnd.apache.parquet", ".parquet", parquet.encode, package="pyarrow", extra="parquet"
        ),
        Format("npz", "application/x-npz", ".npz", npz.encode),
        Format("rrd", "application/x-rrd", ".rrd", rrd.encode, knows_up=True, package="rerun", extra="rerun"),
    )
}

_QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


def format_for_name(name: str) -> Format:
    """The format called `name`; raises `NotAcceptable` that lists the ones there are."""
    if name not in FORMATS:
        raise NotAcceptable(f"no format {name!r:.80}; there are {', '.join(FORMATS)}", field="format")
    return FORMATS[name]


def format_for_path(path: str | os.PathLike[str]) -> Format:
    """The format of the path's suffix; raises `OptionsError` that lists the ones there are."""
    suffix = Path(path).suffix.lower()
    for form in FORMATS.values():
        if form.suffix == suffix:
            return form
    known = ", ".join(form.suffix for form in FORMATS.values())
    raise OptionsError(f"no output format has the suffix {suffix!r}; there are {known}", field="output")


@lru_cache(64)
def format_for_accept(header: str | None) -> Format:
    """The format that an Accept header prefers (RFC 9110, section 12.5.1); JSON without one.

    For each format the most specific range that names it gives its quality; among equals the first of `FORMATS`
    wins. Raises `NotAcceptable` where the best quality is 0.
    """
    if header is None or not header.strip():
        return FORMATS["json"]
    ranges: dict[str, float] = {}
    for part in header.split(","):
        media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
        given = [value.strip() for name, _, value in (p.partition("=") for p in parameters) if name.strip() == "q"]
        if all(_QUALITY.fullmatch(value) for value in given):  # a range with a broken quality is left out
            ranges[media_range] = float(given[0]) if given else 1.0

    def quality(form: Format) -> float:
        kind = form.media_type.partition("/")[0]
        return next((ranges[r] for r in (form.media_type, f"{kind}/*", "*/*") if r in ranges), 0.0)

    best = max(FORMATS.values(), key=quality)
    if quality(best) == 0:
        offered = ", ".join(form.media_type for form in FORMATS.values())
        raise NotAcceptable(f"none of the accepted media types is offered; there are {offered}", field="accept")
    return best


def save(sequence: PoseSequence, path: str | os.PathLike[str], up: Up | None = None) -> tuple[Path, ...]:
    """Write `sequence` in the format of the path's suffix; the files that were written.

    A format of one person gets a file for each: `path` holds the person in the most frames, `<stem>_p<id><suffix>`
    beside it each other one. `up` is as in `Format.write`. Raises as `format_for_path` and `Format.write` do, and
    `OptionsError` where a file cannot be written.
    """
    form, path = format_for_path(path), Path(path)
    written = []
    for file, person in files_of(form, sequence, path):
        try:
            file.write_bytes(form.write(sequence, up, person))
        except OSError as error:
            raise OptionsError(f"cannot write {file}: {error.strerror}", field="output") from error
        written.append(file)
    return tuple(written)


def files_of(form: Format, sequence: PoseSequence, path: Path) -> list[tuple[Path, int | None]]:
    """The files of `sequence` and the person in each, None for everybody; the first is `path`."""
    if not form.one_person or len(sequence.ids) < 2:
        return [(path, None)]
    main = sequence.main_person
    others = [
        (path.with_name(f"{path.stem}_p{person}{path.suffix}"), person) for person in sequence.ids if person != main
    ]
    return [(path, main), *others]
