"""A body of rigid bones that follows joints: what animation files of rotations need.

The bones' lengths are medians over the clip, so they are constant and an odd frame does not matter. A bone keeps the
direction that it has between the joints, and what positions cannot show, the twist about a straight limb, is that of
its parent. Where several bones leave a joint and do not move as one, each hangs on a joint of its own in the same
place: the trunk on the pelvis, clavicles and skull on the neck. Hips, feet and the face are rigid: their shape is a
median, too, which also straightens what the joints themselves disagree about.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synpose.skeleton import BODY27, HALPE26, Skeleton

__all__ = ["Armature", "fit_armature"]

Array = NDArray[np.float64]

_FACE = ("nose", "head", "left_eye", "right_eye", "left_ear", "right_ear")

# joints in the place of their parent, and the joints that hang on them
_IN_PLACE: dict[str, tuple[str, tuple[str, ...]]] = {
    "trunk": ("pelvis", ("spine", "neck")),
    "left_clavicle": ("neck", ("left_shoulder",)),
    "right_clavicle": ("neck", ("right_shoulder",)),
    "skull": ("neck", _FACE),
}

# directions from the parent at rest: upright, arms to the sides, y up, facing z, hence left along x
_REST: dict[str, tuple[float, float, float]] = {
    "hip": (1, 0, 0), "knee": (0, -1, 0), "ankle": (0, -1, 0),
    "big_toe": (-0.2, -0.3, 1), "small_toe": (0.3, -0.3, 0.8), "heel": (0, -0.6, -0.4),
    "spine": (0, 1, 0), "neck": (0, 1, 0), "shoulder": (1, 0, 0), "elbow": (1, 0, 0), "wrist": (1, 0, 0),
    "head": (0, 1, 0.1), "nose": (0, 0.4, 0.6), "eye": (0.3, 0.6, 0.5), "ear": (0.5, 0.5, 0),
}  # fmt: skip

# what tells the twist about a joint's bones: a line between two joints and its direction at rest
_TWIST: dict[str, tuple[str, str, tuple[float, float, float]]] = {
    "pelvis": ("pelvis", "neck", (0, 1, 0)),
    "trunk": ("right_shoulder", "left_shoulder", (1, 0, 0)),
}
_SHAPE_ROUNDS = 4  # a rigid shape, and how it lies in each frame, in turn
_TWIST_WEIGHT, _PARENT_WEIGHT = 1e-3, 1e-6  # each matters only about axes that what is before it leaves open


@dataclass(frozen=True, eq=False)
class Armature:
    """N joints in the order of a tree, each after its parent; the root is the pelvis.

    `offsets` `(N, 3)` from the parent at rest, metres, y up, facing z; `rotations` `(T, N, 3, 3)` take directions at
    rest to the world; `root` `(T, 3)` the pelvis, world.
    """

    joints: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: Array
    rotations: Array
    root: Array

    def local_rotations(self) -> Array:
        """Rotations `(T, N, 3, 3)` of each joint in the frame of its parent; the root's in the world."""
        local = self.rotations.copy()
        for j, parent in enumerate(self.parents):
            if parent >= 0:
                local[:, j] = self.rotations[:, parent].swapaxes(1, 2) @ self.rotations[:, j]
        return local

    def positions(self) -> Array:
        """Joints `(T, N, 3)`, world, metres."""
        out = np.repeat(self.root[:, None], len(self.joints), 1)
        for j, parent in enumerate(self.parents):
            if parent >= 0:
                out[:, j] = out[:, parent] + self.rotations[:, parent] @ self.offsets[j]
        return out


def fit_armature(joints: Array, skeleton: Skeleton) -> Armature:
    """The armature that follows `joints` `(T, J, 3)`, metres, y up, NaN where unknown.

    A joint's gaps are bridged along a straight line, and at the ends by its nearest known place. A joint that is
    never known is left out with all that hangs on it; without a pelvis there is a root at the origin alone.
    """
    points = _points(joints, skeleton)
    names, parents = _tree(points)
    if not names:
        still = np.broadcast_to(np.eye(3), (len(joints), 1, 3, 3))
        return Armature(("pelvis",), (-1,), np.zeros((1, 3)), still, np.zeros((len(joints), 3)))
    offsets = np.zeros((len(names), 3))
    rotations = np.empty((len(joints), len(names), 3, 3))
    for j, name in enumerate(names):
        children = [k for k, parent in enumerate(parents) if parent == j and names[k] not in _IN_PLACE]
        bones = [points[names[k]] - points[name] for k in children]
        for k, bone in zip(children, bones, strict=True):
            offsets[k] = _rest(names[k]) * np.median(np.linalg.norm(bone, axis=1))
        before = rotations[:, parents[j]] if parents[j] >= 0 else np.broadcast_to(np.eye(3), (len(joints), 3, 3))
        twist = _twist(name, points)
        for _ in range(_SHAPE_ROUNDS if len(bones) > 1 else 0):
            lie = _aligned(offsets[children], bones, twist, before)
            for k, bone in zip(children, bones, strict=True):
                local = np.median(np.einsum("tji,tj->ti", lie, bone), axis=0)
                offsets[k] = _unit(local) * np.linalg.norm(offsets[k])
        rotations[:, j] = _aligned(offsets[children], bones, twist, before)
    return Armature(tuple(names), tuple(parents), offsets, rotations, points["pelvis"])


def _points(joints: Array, skeleton: Skeleton) -> dict[str, Array]:
    """Every joint that is known at least once, `(T, 3)` without gaps, and those of `_IN_PLACE`."""
    body = skeleton if "pelvis" in skeleton.joints else HALPE26
    points: dict[str, Array] = {}
    times = np.arange(len(joints))
    for name, weights in zip(body.joints, body.reads_from(skeleton), strict=True):
        parts = np.flatnonzero(weights)
        values = np.einsum("j,tjk->tk", weights[parts], joints[:, parts])
        known = np.isfinite(values).all(1)
        if len(parts) and known.any():
            points[name] = np.stack([np.interp(times, times[known], axis[known]) for axis in values.T], axis=1)
    for name, (parent, _) in _IN_PLACE.items():
        if parent in points:
            points[name] = points[parent]
    return points


def _tree(points: dict[str, Array]) -> tuple[list[str], list[int]]:
    """Names and parents of the joints of `points` that hang on the pelvis, parents first, limb by limb."""
    hangs_on = {child: name for name, (_, children) in _IN_PLACE.items() for child in children}
    hangs_on |= {name: parent for name, (parent, _) in _IN_PLACE.items()}
    if "spine" in points:
        hangs_on["neck"] = "spine"
    for parent, joint in HALPE26.bones:
        hangs_on.setdefault(HALPE26.joints[joint], HALPE26.joints[parent])
    names: list[str] = []
    parents: list[int] = []

    def visit(name: str, parent: int) -> None:
        own = len(names)
        names.append(name)
        parents.append(parent)
        for child in (*BODY27.joints, *_IN_PLACE):
            if child in points and child != name and hangs_on.get(child) == name:
                visit(child, own)
        if name in _IN_PLACE and own == len(names) - 1:  # nothing hangs on it
            names.pop()
            parents.pop()

    if "pelvis" in points:
        visit("pelvis", -1)
    return names, parents


def _rest(joint: str) -> Array:
    """The direction in which `joint` lies from its parent at rest."""
    side, _, rest = joint.partition("_")
    direction = np.array(_REST[rest if side in ("left", "right") else joint], dtype=np.float64)
    return _unit(direction * (-1 if side == "right" else 1, 1, 1))


def _twist(joint: str, points: dict[str, Array]) -> tuple[Array, Array] | None:
    """A direction at rest and in each frame `(T, 3)` that tells how `joint` is twisted, if it is known."""
    begin, end, rest = _TWIST.get(joint, ("", "", (0, 0, 0)))
    if begin not in points or end not in points:
        return None
    return np.array(rest, dtype=np.float64), points[end] - points[begin]


def _aligned(rests: Array, bones: list[Array], twist: tuple[Array, Array] | None, before: Array) -> Array:
    """Rotations `(T, 3, 3)` that best take the directions of bones at rest `(K, 3)` to those in each frame, K `(T, 3)`.

    Wahba's problem, by SVD; what the bones leave open is as `twist` says, and then as in the rotations `before`.
    """
    attitude = _PARENT_WEIGHT * before
    for rest, world in zip(rests, bones, strict=True):
        attitude = attitude + np.einsum("ti,j->tij", _unit(world), _unit(rest))
    if twist is not None:
        attitude = attitude + _TWIST_WEIGHT * np.einsum("ti,j->tij", _unit(twist[1]), twist[0])
    u, _, vt = np.linalg.svd(attitude)
    u[:, :, 2] *= np.linalg.det(u @ vt)[:, None]
    return np.asarray(u @ vt)


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))
