"""EasyMocap's `intri.yml` and `extri.yml`: OpenCV's FileStorage, in metres by EasyMocap's convention.

`names` lists the cameras; `K_<name>`, `dist_<name>` and `R_<name>` (a rotation vector) or `Rot_<name>` (a matrix, used
where both exist) and `T_<name>` are matrices; `W_<name>` and `H_<name>` give the image size. Files without a size get
twice the principal point, rounded, which is what the centre of a lens is expected to be.

OpenCV's dialect is small and is not YAML 1.1 (`%YAML:1.0`), which is why it is read here and not by a YAML library.
"""

from __future__ import annotations

import numpy as np

from synpose.calibration.fields import Array, camera_of, numbers
from synpose.calibration.parsed import Parsed
from synpose.errors import CalibrationError
from synpose.rig import Camera

__all__ = ["matches", "parse"]


def matches(content: str) -> bool:
    return "!!opencv-matrix" in content


def parse(*contents: str) -> Parsed:
    """The cameras of one or two files taken together."""
    storage: dict[str, object] = {}
    names: dict[str, None] = {}
    for content in contents:
        entries = _entries(content)
        listed = entries.pop("names", [])
        if not isinstance(listed, list):
            raise CalibrationError("names must be a list", field="calibration.names")
        names |= dict.fromkeys(listed)
        storage |= entries
    for part, file in (("K_", "intri.yml"), ("T_", "extri.yml")):
        if names and not any(key.startswith(part) for key in storage):
            raise CalibrationError(f"only one of the two files was given: {file} is missing", field="calibration")
    return Parsed(tuple(_camera(storage, name) for name in names), assumes="m")


def _camera(storage: dict[str, object], name: str) -> Camera:
    def read(part: str, *counts: int) -> Array:
        return numbers(storage, f"{part}_{name}", name, *counts)

    K = read("K", 9)
    sized = f"W_{name}" in storage and f"H_{name}" in storage
    return camera_of(
        name,
        np.concatenate((read("W", 1), read("H", 1))) if sized else 2 * K[[2, 5]],
        K,
        read("Rot", 9) if f"Rot_{name}" in storage else read("R", 3, 9),
        read("T", 3),
        read("dist"),
    )


def _entries(content: str) -> dict[str, object]:
    """The top-level entries of a FileStorage: matrices as lists of numbers, lists of names, and scalars as text."""
    blocks: dict[str, list[str]] = {}
    block: list[str] = []
    for line in content.splitlines():
        if not line.strip() or line.startswith(("%", "---", "...", "#")):
            continue
        if line[0] not in " \t-":
            key, _, line = line.partition(":")
            block = blocks.setdefault(key.strip(), [])
        block.append(line.strip())
    return {key: _value(key, " ".join(lines).strip()) for key, lines in blocks.items()}


def _value(key: str, text: str) -> object:
    if text.startswith("!!opencv-matrix"):
        shape, _, rest = text.partition("data:")
        data, closed, _ = rest.partition("]")
        size = [word for side in ("rows:", "cols:") for word in shape.partition(side)[2].split()[:1]]
        values = data.strip().removeprefix("[").replace(",", " ").split()
        if not closed or not all(word.isdigit() and len(word) < 9 for word in size) or len(size) != 2:
            raise CalibrationError("this is no OpenCV matrix", field=f"calibration.{key}")
        if int(size[0]) * int(size[1]) != len(values):
            raise CalibrationError("rows and cols do not fit the data", field=f"calibration.{key}")
        return values
    if text.startswith("["):
        return [_unquoted(word) for word in text.strip("[]").split(",") if word.strip()]
    if text.startswith("-"):
        return [_unquoted(word) for word in f" {text}".split(" - ") if word.strip()]
    return _unquoted(text)


def _unquoted(word: str) -> str:
    return word.strip().strip("\"'")
