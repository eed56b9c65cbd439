"""Bones do not stretch: the lengths of a person's limbs, learned as they are seen, steady each pose.

A joint's error is largest along some line of sight, and a limb that is too long or too short tells of it. What is known
of a length grows with the frames, so a short clip is hardly touched.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synpose.skeleton import Skeleton

__all__ = ["Limbs"]

Array = NDArray[np.float64]

_GIVE = 0.008  # metres: how much a limb's length, from joint to joint as networks see them, changes with the pose
_ALIKE = 8.0  # neighbouring frames err alike: so many tell as much as one
_SUREST = 0.001  # metres: no joint is known better
_ROUNDS = 3


class Limbs:
    """The eight limbs of one person of a clip."""

    def __init__(self, skeleton: Skeleton) -> None:
        ends = np.array(skeleton.limbs)
        self._parts = [ends[0::2], ends[1::2]]  # upper arms and thighs, then what hangs on them: (4, 2) each
        self._total = [np.zeros(4), np.zeros(4)]
        self._weight = [np.zeros(4), np.zeros(4)]

    def settle(self, joints: Array, sigma: Array, eye: Array | None = None) -> Array:
        """`joints` `(J, 3)` with `sigma` `(J,)`, metres, of the next frame, moved to where the limbs have their length.

        Each joint as far as it is unsure. Joints that are not known (NaN) stay so, and their limbs are left out. `eye`
        `(3,)` is the centre of the only camera that saw the person, if it was only one: it tells directions, not how
        far away they are, so first the whole pose goes to where its limbs have their usual size.
        """
        joints, variance = joints.copy(), np.maximum(sigma, _SUREST) ** 2
        for part, ends in enumerate(self._parts):
            weight = 1 / variance[ends].sum(-1)
            length = np.linalg.norm(joints[ends[:, 1]] - joints[ends[:, 0]], axis=-1)
            known = np.isfinite(length) & np.isfinite(weight)
            self._total[part] += np.where(known, weight * length, 0.0)
            self._weight[part] += np.where(known, weight, 0.0)
        if eye is not None:
            joints = eye + self._scale(joints) * (joints - eye)
        for _ in range(_ROUNDS):
            for part, ends in enumerate(self._parts):
                self._pull(joints, variance, ends, self._total[part], self._weight[part])
        return joints

    def _scale(self, joints: Array) -> float:
        """What a pose is to be multiplied by for its limbs to have the lengths that are known."""
        ends, total, weight = (np.concatenate(parts) for parts in (self._parts, self._total, self._weight))
        length = np.linalg.norm(joints[ends[:, 1]] - joints[ends[:, 0]], axis=-1)
        fit = np.isfinite(length) & (length > 0) & (weight > 0)
        known = total[fit] / weight[fit]
        return float(known @ length[fit] / (length[fit] @ length[fit])) if fit.any() else 1.0

    @staticmethod
    def _pull(joints: Array, variance: Array, ends: Array, total: Array, weight: Array) -> None:
        near, far = ends[:, 0], ends[:, 1]
        along = joints[far] - joints[near]  # (4, 3)
        length = np.linalg.norm(along, axis=-1)
        own = variance[near] + variance[far]
        fit = np.isfinite(length) & np.isfinite(own) & (length > 0) & (weight > 0)
        near, far, along, length, own = near[fit], far[fit], along[fit], length[fit], own[fit]
        doubt = _GIVE**2 + _ALIKE / weight[fit]  # of what is known of the length
        excess = (length - total[fit] / weight[fit]) * own / (own + doubt)
        move = (excess / length)[:, None] * along
        share = (variance[near] / own)[:, None]
        joints[near] += share * move
        joints[far] -= (1 - share) * move
