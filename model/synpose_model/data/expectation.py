"""Where a server that follows a person expects their joints in the next image: about where they are, with its errors.

Most are near, those of quick hands and feet less so, those that were misread far off, and now and then left is taken
for right. What cannot be seen is expected with larger errors, and at first nothing is expected at all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synpose.skeleton import BODY27
from synpose_model.crop import NOWHERE

__all__ = ["expectation"]

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
