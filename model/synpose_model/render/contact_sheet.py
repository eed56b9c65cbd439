"""A clip on one picture: a row for each camera, a column for each chosen frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from synpose.skeleton import BODY27

__all__ = ["ContactSheet", "with_joints"]

Image = NDArray[np.uint8]

_CELL = (320, 240)
_COLUMNS = 6


class ContactSheet:
    """Collects the images of `frames` frames; `save` writes those that are shown, evenly spread."""

    def __init__(self, frames: int) -> None:
        self._shown = set(np.linspace(0, frames - 1, min(_COLUMNS, frames)).round().astype(int).tolist())
        self._columns: list[Image] = []

    def wants(self, frame: int) -> bool:
        """Whether frame number `frame` is shown."""
        return frame in self._shown

    def add(self, images: list[Image]) -> None:
        """One column: an RGB image of each camera."""
        self._columns.append(np.concatenate([cv2.resize(i, _CELL, interpolation=cv2.INTER_AREA) for i in images]))

    def save(self, path: Path) -> None:
        """Writes the sheet as a picture."""
        cv2.imwrite(str(path), np.concatenate(self._columns, 1)[..., ::-1])


def with_joints(image: Image, pixels: NDArray[np.float64], visibility: NDArray[np.uint8]) -> Image:
    """`image` with the joints `(27, 2)` of `BODY27` in pixels drawn on it: green where visible, red where hidden."""
    out = np.ascontiguousarray(image).copy()
    places = [(round(p[0] * 16), round(p[1] * 16)) if np.isfinite(p).all() else None for p in pixels]
    for parent, joint in BODY27.bones:
        a, b = places[parent], places[joint]
        if a and b:
            cv2.line(out, a, b, (255, 255, 0), 1, cv2.LINE_AA, 4)
    for place, seen in zip(places, visibility, strict=True):
        if place:
            cv2.circle(out, place, 48, (0, 255, 0) if seen == 2 else (255, 0, 0), -1, cv2.LINE_AA, 4)
    return out
