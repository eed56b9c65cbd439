"""Skeletons: named joints, parents and left/right pairs, and how one is read off another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from synpose.errors import NotFound

__all__ = ["BODY27", "COCO17", "H36M17", "HALPE26", "SKELETONS", "Skeleton", "get_skeleton"]


@dataclass(frozen=True)
class Skeleton:
    """`joints[j]` hangs on `joints[parents[j]]` (−1: a root)."""

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]

    def __post_init__(self) -> None:
        assert len(self.joints) == len(self.parents) == len(set(self.joints)), self.name
        assert all(-1 <= parent < len(self.joints) for parent in self.parents), self.parents

    def __len__(self) -> int:
        return len(self.joints)

    @cached_property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(parent, joint) of every joint that has a parent."""
        return tuple((parent, joint) for joint, parent in enumerate(self.parents) if parent >= 0)

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """(left, right) joints that a mirror exchanges."""
        index = {name: j for j, name in enumerate(self.joints)}
        return tuple(
            (j, index[name.replace("left", "right", 1)]) for name, j in index.items() if name.startswith("left")
        )

    @cached_property
    def mirror(self) -> NDArray[np.int64]:
        """For each joint the one on the other side, `(J,)`; mid-body joints are their own."""
        out = np.arange(len(self))
        for left, right in self.pairs:
            out[[left, right]] = right, left
        return out

    @cached_property
    def exchanged_parts(self) -> NDArray[np.bool_]:
        """What pose networks exchange between left and right together, `(3, J)`: arms, legs and the face."""
        sided = np.arange(len(self)) != self.mirror
        named = [[any(n in name for n in part) for name in self.joints] for part in _EXCHANGED]
        return np.asarray(np.array(named) & sided, dtype=np.bool_)

    @cached_property
    def limbs(self) -> tuple[tuple[int, int], ...]:
        """The eight long limb bones (upper and lower arms and legs) as (parent-side, far-side) joints."""
        index = {name: j for j, name in enumerate(self.joints)}
        chains = (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
        return tuple((index[f"{s}_{a}"], index[f"{s}_{b}"]) for s in ("left", "right") for a, b in chains)

    @cached_property
    def limb_joints(self) -> tuple[int, ...]:
        """Shoulders, elbows, wrists, hips, knees and ankles: the twelve joints every skeleton here shares."""
        return tuple(sorted({j for limb in self.limbs for j in limb}))

    def reads_from(self, source: Skeleton) -> NDArray[np.float64]:
        """Weights `(len(self), len(source))` that read this skeleton's joints off the joints of `source`.

        A joint of the same name is itself; a mid-body joint that `source` lacks is the midpoint of others; a row
        of zeros marks a joint that `source` cannot give.
        """
        index = {name: j for j, name in enumerate(source.joints)}
        weights = np.zeros((len(self), len(source)))
        for row, name in enumerate(self.joints):
            for recipe in ((name,), *_STANDS_FOR.get(name, ())):
                if all(part in index for part in recipe):
                    for part in recipe:
                        weights[row, index[part]] += 1.0 / len(recipe)
                    break
        return weights


_EXCHANGED = (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle", "toe", "heel"), ("eye", "ear"))

# What a mid-body joint is where a skeleton does not name it: the mean of the joints of the first recipe that applies.
_HIPS, _SHOULDERS = ("left_hip", "right_hip"), ("left_shoulder", "right_shoulder")
_STANDS_FOR: dict[str, tuple[tuple[str, ...], ...]] = {
    "pelvis": (_HIPS,),
    "neck": (_SHOULDERS,),
    "spine": (_HIPS + _SHOULDERS,),
}

_COCO_JOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
_COCO_PARENTS = (-1, 0, 0, 1, 2, 0, 0, 5, 6, 7, 8, 5, 6, 11, 12, 13, 14)

COCO17 = Skeleton("coco17", _COCO_JOINTS, _COCO_PARENTS)
"""The 17 keypoints of the COCO dataset, in its order."""

H36M17 = Skeleton(
    "h36m17",
    (
        "pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
        "spine", "neck", "nose", "head",
        "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
    ),
    (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15),
)  # fmt: skip
"""The 17 joints of Human3.6M in the order of its literature (and of arXiv 2401.16700); `head` is its top."""

HALPE26 = Skeleton(
    "halpe26",
    (
        *_COCO_JOINTS, "head", "neck", "pelvis",
        "left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe", "left_heel", "right_heel",
    ),
    (18, 0, 0, 1, 2, 18, 18, 5, 6, 7, 8, 19, 19, 11, 12, 13, 14, 18, 19, -1, 15, 16, 15, 16, 15, 16),
)  # fmt: skip
"""COCO's joints, then the head's top, neck, pelvis and six joints of the feet (Halpe full-body, body part)."""

BODY27 = Skeleton(
    "body27",
    (*HALPE26.joints, "spine"),
    (18, 0, 0, 1, 2, 18, 18, 5, 6, 7, 8, 19, 19, 11, 12, 13, 14, 18, 26, -1, 15, 16, 15, 16, 15, 16, 19),
)
"""Everything that the other skeletons name: what a trained network answers, and they are read from."""

SKELETONS: dict[str, Skeleton] = {s.name: s for s in (COCO17, H36M17, HALPE26, BODY27)}


def get_skeleton(name: str) -> Skeleton:
    """The skeleton called `name`; raises `NotFound` that lists the ones there are."""
    if name not in SKELETONS:
        raise NotFound(f"no skeleton {name!r:.80}; there are {', '.join(SKELETONS)}", field="options.skeleton")
    return SKELETONS[name]
