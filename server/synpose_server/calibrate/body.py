"""What is known of any body before it was seen: which joints bones join, and how long bones are beside the stature.

The shares are those of Drillis and Contini (Body Segment Parameters, 1966, as in Winter, Biomechanics and Motor Control
of Human Movement): upper arm 0.186, forearm 0.146, thigh 0.245, shank 0.246, hip to shoulder 0.288 of the standing
height. Shoulders and hips are as wide as COCO's annotators see them. **Stature** is, wherever it is asked for, the
standing height without shoes, and is read off the joints as (thigh + shank + flank) / 0.779.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synpose.skeleton import COCO17

__all__ = ["ANKLES", "ANKLE_HEIGHT", "BONES", "JOINTS", "KINDS", "LENGTHS", "STATURE", "Bones", "middle"]

_SHARES = {
    "upper arm": (0.186, ("shoulder", "elbow"), 0.012),
    "forearm": (0.146, ("elbow", "wrist"), 0.012),
    "thigh": (0.245, ("hip", "knee"), 0.012),
    "shank": (0.246, ("knee", "ankle"), 0.012),
    "flank": (0.288, ("hip", "shoulder"), 0.02),
}
_WIDTHS = {"shoulders": (0.2, "shoulder", 0.015), "hips": (0.115, "hip", 0.012)}

ANKLE_HEIGHT = 0.039
"""Of an ankle above the floor it stands on, in statures."""

JOINTS = tuple(j for j, name in enumerate(COCO17.joints) if name == "nose" or j >= 5)
"""The joints that calibrate: nose and limbs; eyes and ears that a camera cannot see are guessed by most networks."""

KINDS = (*_SHARES, *_WIDTHS)

LENGTHS = np.array([share for share, *_ in _SHARES.values()] + [width for width, *_ in _WIDTHS.values()])
"""Usual length of each of `KINDS`, in statures."""

_STATURE_KINDS = ("thigh", "shank", "flank")
STATURE = np.array([kind in _STATURE_KINDS for kind in KINDS]) / sum(_SHARES[kind][0] for kind in _STATURE_KINDS)
"""Weights that give the stature as a sum over the lengths of `KINDS`."""


@dataclass(frozen=True, eq=False)
class Bones:
    """`ends` `(B, 2)` as rows of `JOINTS`, `kinds` `(B,)`, and `spread` `(B,)`: how constant a seen length is."""

    ends: NDArray[np.int64]
    kinds: NDArray[np.int64]
    spread: NDArray[np.float64]


def _row(name: str) -> int:
    return JOINTS.index(COCO17.joints.index(name))


def _bones() -> Bones:
    rows = [
        (_row(f"{side}_{a}"), _row(f"{side}_{b}"), KINDS.index(kind), spread)
        for kind, (_, (a, b), spread) in _SHARES.items()
        for side in ("left", "right")
    ]
    rows += [
        (_row(f"left_{joint}"), _row(f"right_{joint}"), KINDS.index(kind), spread)
        for kind, (_, joint, spread) in _WIDTHS.items()
    ]
    ends, kinds, spread = [r[:2] for r in rows], [r[2] for r in rows], [r[3] for r in rows]
    return Bones(np.array(ends), np.array(kinds), np.array(spread))


BONES = _bones()

ANKLES = [_row("left_ankle"), _row("right_ankle")]
"""Rows of `JOINTS`."""


def middle(points: NDArray[np.float64], joint: str) -> NDArray[np.float64]:
    """The midpoint `(..., 3)` of the left and the right `joint` among `points` `(..., len(JOINTS), 3)`."""
    both: NDArray[np.float64] = points[..., [_row(f"left_{joint}"), _row(f"right_{joint}")], :]
    return np.asarray(both.mean(-2))
