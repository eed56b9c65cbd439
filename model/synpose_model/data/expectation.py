"""Where a server that follows a person expects their joints in the next image: about where they are, with its errors.

Two sources. `expectation` makes errors up: most are small, those of quick hands and feet less so, those of what was
misread or cannot be seen large, and now and then left is taken for right. `ServerErrors` replays those that a server
really made on rendered clips (`synpose render served`): metres, so that they agree between cameras, and of the whole
pose at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synpose.errors import InvalidInput
from synpose.skeleton import BODY27
from synpose_model.crop import NOWHERE

__all__ = ["ServerErrors", "expectation"]

Array = NDArray[np.float64]

_NONE, _MISSING = 0.15, 0.03  # shares of the crops of which, and of the joints in others of which, nothing is expected
_SPREAD, _VARIED = 0.01, 0.6  # shares of the crop: the usual error of a pose, and by how much its logarithm varies
_TAIL = 3.0  # degrees of freedom
_HIDDEN = 1.8  # times as far off are joints that cannot be seen
_WRONG, _FAR = 0.05, 0.08  # share of the joints that were misread, and how far off these are, in shares of the crop
_SWAPPED = 0.04  # how often a pair of limbs is taken for each other
_TURNED = 0.02  # and the whole person
_ENDS = ("wrist", "ankle", "toe", "heel")
_LIMBS = (("elbow", "wrist"), ("knee", "ankle", "toe", "heel"))
_QUICK = np.array([1.6 if any(part in name for part in _ENDS) else 0.9 for name in BODY27.joints])


def _exchanged(parts: tuple[str, ...]) -> NDArray[np.int64]:
    """Which joint is taken for each where the joints of `parts` are exchanged between left and right."""
    pairs = zip(BODY27.joints, BODY27.mirror, strict=True)
    return np.array([other if any(part in name for part in parts) else j for j, (name, other) in enumerate(pairs)])


_EXCHANGES = ((np.array(BODY27.mirror), _TURNED), *((_exchanged(parts), _SWAPPED) for parts in _LIMBS))


def expectation(
    rng: np.random.Generator, pixels: NDArray[np.float32], visibility: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Expected places `(N, 27, 2)` of joints that are at `pixels` `(N, 27, 2)`, both in shares of the crop.

    `NOWHERE` where nothing is expected. `visibility` `(N, 27)` as COCO counts: 2 is seen.
    """
    N = len(pixels)
    usual = _SPREAD * np.exp(rng.normal(0, _VARIED, (N, 1))) * _QUICK * np.where(visibility == 2, 1.0, _HIDDEN)
    at = pixels.astype(np.float64)
    for exchanged, share in _EXCHANGES:
        at = np.where((rng.random(N) < share)[:, None, None], at[:, exchanged], at)
    at = (
        at
        + usual[..., None] * rng.standard_t(_TAIL, (N, 27, 2))
        + 0.5 * usual.mean(-1)[:, None, None] * rng.normal(size=(N, 1, 2))
    )
    at += np.where(rng.random((N, 27, 1)) < _WRONG, rng.normal(0, _FAR, (N, 27, 2)), 0.0)
    unknown = (rng.random((N, 1)) < _NONE) | (rng.random((N, 27)) < _MISSING)
    return np.where(unknown[..., None] | ~np.isfinite(at), NOWHERE, at).astype(np.float32)


_NEIGHBOURS = 16  # records of a like pose from which one is drawn
_LARGER, _SCALED = 0.2, 0.5  # mean and deviation of the logarithm by which its errors grow


class ServerErrors:
    """Errors of the poses that a server expected, replayed on people in like poses.

    `joints`, `errors` `(M, 27, 3)`, metres in any world: true joints, and how far from them they were expected.
    Those that are not all known are left out; raises `InvalidInput` where less than 17 are left.
    """

    def __init__(self, joints: NDArray[np.floating], errors: NDArray[np.floating]) -> None:
        known = (np.isfinite(joints) & np.isfinite(errors)).all((1, 2))
        joints, errors = joints[known], errors[known]
        if len(joints) <= _NEIGHBOURS:
            raise InvalidInput(f"{len(joints)} recorded expectations are too few to learn from", field="data")
        axes = _axes(joints)
        poses, errors = _own(joints, axes), errors @ axes
        mirror, across = np.array(BODY27.mirror), np.array([-1.0, 1.0, 1.0])
        self._poses = np.concatenate([poses, poses[:, mirror] * across]).reshape(2 * len(joints), -1)
        self._squares = (self._poses**2).sum(-1)
        self._errors = np.concatenate([errors, errors[:, mirror] * across])

    def expected(self, rng: np.random.Generator, joints: NDArray[np.floating]) -> Array:
        """Where `joints` `(N, 27, 3)` are expected, in the same world: with the errors of poses that are like them."""
        N, axes = len(joints), _axes(joints)
        distances = self._squares - 2 * _own(joints, axes).reshape(N, -1) @ self._poses.T  # squared, but for a constant
        like = np.argpartition(distances, _NEIGHBOURS)[:, :_NEIGHBOURS]
        chosen = like[np.arange(N), rng.integers(_NEIGHBOURS, size=N)]
        size = np.exp(rng.normal(_LARGER, _SCALED, (N, 1, 1)))
        return np.asarray(joints + size * self._errors[chosen] @ axes.swapaxes(-1, -2))


def _own(joints: NDArray[np.floating], axes: Array) -> Array:
    """Joints from the hips' middle in the person's own `axes`."""
    return np.asarray((joints - _middle(joints, "hip")[:, None]) @ axes)


def _middle(joints: NDArray[np.floating], part: str) -> Array:
    at = [BODY27.joints.index(f"{side}_{part}") for side in ("left", "right")]
    return np.asarray(joints[:, at].mean(1), dtype=np.float64)


def _axes(joints: NDArray[np.floating]) -> Array:
    """Each person's own axes `(N, 3, 3)` as columns: to the left, forward or back, up the trunk."""
    left, right = (
        [BODY27.joints.index(f"{side}_{part}") for part in ("hip", "shoulder")] for side in ("left", "right")
    )
    up = _middle(joints, "shoulder") - _middle(joints, "hip")
    up /= np.maximum(np.linalg.norm(up, axis=-1, keepdims=True), 1e-6)
    across = (joints[:, left] - joints[:, right]).astype(np.float64).sum(1)
    across -= (across * up).sum(-1, keepdims=True) * up
    across /= np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-6)
    return np.stack([across, np.cross(up, across), up], axis=-1)
