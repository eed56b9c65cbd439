"""Which axis of the world points up, and the turn that files with a convention of their own need."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from synpose.errors import OptionsError
from synpose.pose import PoseSequence
from synpose.skeleton import BODY27

__all__ = ["UP_AXES", "Up", "check_up", "to_y_up", "up_axis"]

Up: TypeAlias = Literal["x", "y", "z", "-x", "-y", "-z"]

UP_AXES: tuple[Up, ...] = get_args(Up)

# quarter and half turns; z up to y up is the turn that Blender's importers undo
_TO_Y_UP: dict[Up, list[list[int]]] = {
    "y": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "-y": [[1, 0, 0], [0, -1, 0], [0, 0, -1]],
    "z": [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
    "-z": [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
    "x": [[0, -1, 0], [1, 0, 0], [0, 0, 1]],
    "-x": [[0, 1, 0], [-1, 0, 0], [0, 0, 1]],
}


def check_up(name: str) -> Up:
    """`name` if it is one of `UP_AXES`; raises `OptionsError` that lists them."""
    for axis in UP_AXES:
        if axis == name:
            return axis
    raise OptionsError(f"up must be one of {', '.join(UP_AXES)}, not {name!r:.80}", field="up")


def up_axis(sequence: PoseSequence) -> Up:
    """The axis nearest to people's trunks, pelvis to neck, on average over the clip; z where no trunk is known.

    A guess that holds for people who mostly stand, walk or sit.
    """
    weights = BODY27.reads_from(sequence.header.skeleton)
    neck, pelvis = weights[BODY27.joints.index("neck")], weights[BODY27.joints.index("pelvis")]  # (J,)
    parts = np.flatnonzero(neck - pelvis)
    people = [person.joints[parts] for frame in sequence.frames for person in frame.people]
    trunks = np.einsum("j,pjk->pk", (neck - pelvis)[parts], np.reshape(people, (len(people), len(parts), 3)))
    trunks = trunks[np.isfinite(trunks).all(1)]
    if not (len(trunks) and neck.any() and pelvis.any()):
        return "z"
    mean = trunks.mean(0)
    axis = int(np.abs(mean).argmax())
    return UP_AXES[axis if mean[axis] > 0 else axis + 3]


def to_y_up(points: NDArray[np.float64], up: Up) -> NDArray[np.float64]:
    """World points `(..., 3)` turned so that the world's `up` is +y; z up becomes (x, z, −y)."""
    return np.asarray(points @ np.array(_TO_Y_UP[up], dtype=np.float64).T)
