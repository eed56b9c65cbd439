"""Pose files: one table of formats, and how a path or an Accept header chooses one.

A format is a module: `json` and `ndjson` are written and read, `csv` and `trc` are written. TRC has no registered
media type; `text/x-trc` is ours.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from synpose.errors import NotAcceptable, OptionsError
from synpose.formats import csv, json, ndjson, trc
from synpose.pose import PoseSequence

__all__ = ["FORMATS", "Format", "format_for_accept", "format_for_path"]


@dataclass(frozen=True)
class Format:
    """How an answer is written: its name, media type, file suffix and writer."""

    name: str
    media_type: str
    suffix: str
    write: Callable[[PoseSequence], bytes]


FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        Format("json", "application/json", ".json", json.encode),
        Format("ndjson", "application/x-ndjson", ".ndjson", ndjson.encode),
        Format("csv", "text/csv", ".csv", csv.encode),
        Format("trc", "text/x-trc", ".trc", trc.encode),
    )
}

_QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


def format_for_path(path: str | os.PathLike[str]) -> Format:
    """The format of the path's suffix; raises `OptionsError` that lists the ones there are."""
    suffix = Path(path).suffix.lower()
    for form in FORMATS.values():
        if form.suffix == suffix:
            return form
    known = ", ".join(form.suffix for form in FORMATS.values())
    raise OptionsError(f"no output format has the suffix {suffix!r}; there are {known}", field="output")


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
