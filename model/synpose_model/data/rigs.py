"""Rays of random rigs: motions seen by cameras anywhere, with the errors that detections, lenses and clocks have."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synpose.skeleton import BODY27
from synpose_model.crop import MARGIN
from synpose_model.data.errors import MIRROR, Errors, azimuth

__all__ = ["Rays", "present", "simulate"]

Array = NDArray[np.float64]

_COCO = slice(0, 17)
_PARTS = BODY27.exchanged_parts  # (parts, J): what is exchanged together


class Rays(NamedTuple):
    """What the relation graph gets, `(B, T, V, ...)`, and the truth: `joints` `(B, T, 27, 3)` metres.

    `swapped` `(B, T, V, 27)` are the keypoints that are exchanged with those of the other side.
    """

    origins: Array
    directions: Array
    scores: Array
    mask: NDArray[np.bool_]
    joints: Array
    swapped: NDArray[np.bool_]


def simulate(rng: np.random.Generator, joints: Array, views: int, errors: Errors, step: Array, hard: float) -> Rays:
    """What `views` random cameras would say of `joints` `(B, T, 27, 3)`, z up.

    Frames are `step` `(B,)` thirtieths of a second apart. `hard` in [0, 1] is how often things go wrong that `errors`
    do not hold: clocks that are off, cameras that fail, someone else in the picture.
    """
    B, T, J, _ = joints.shape
    middle = joints.mean((1, 2))  # (B, 3)
    eyes = _eyes(rng, middle, views)  # (B, V, 3)
    late = np.where(rng.random((B, 1)) < 0.5 * hard, rng.normal(0, 0.4, (B, views)), 0.0)  # frames
    motion = np.gradient(joints, axis=1) if T > 1 else np.zeros_like(joints)
    seen = joints[:, :, None] + late[:, None, :, None, None] * motion[:, :, None]  # (B, T, V, J, 3)
    stranger = rng.random((B, views)) < 0.03 * hard
    seen = seen + (stranger[..., None] * rng.normal(0, 0.8, (B, views, 3)) * (1, 1, 0.1))[:, None, :, None]

    local = seen - eyes[:, None, :, None]
    z = local[..., _COCO, :].mean(-2)
    z /= np.linalg.norm(z, axis=-1, keepdims=True)  # (B, T, V, 3)
    up = seen[..., 5:7, :].mean(-2) - seen[..., 11:13, :].mean(-2)
    x = np.cross(z, up)
    x /= np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-6)
    axes = np.stack((x, np.cross(z, x), z), -2)  # (B, T, V, 3, 3): right, down, forward
    plane = np.einsum("btvij,btvkj->btvki", axes, local)
    plane = plane[..., :2] / np.maximum(plane[..., 2:], 0.3)  # (B, T, V, J, 2)
    width = MARGIN * np.ptp(plane[..., _COCO, :], axis=-2).max(-1)  # (B, T, V)

    stand = azimuth(joints[:, T // 2], eyes)  # (B, V)
    replayed = errors.replay(rng, stand, T, np.broadcast_to(step[:, None], stand.shape))
    off, swapped = replayed[0].swapaxes(1, 2), replayed[1].swapaxes(1, 2)  # (B, T, V, J, ...)
    scores = replayed[2].swapaxes(1, 2).astype(np.float64)
    at = np.where(swapped[..., None], plane[..., MIRROR, :], plane)
    at = at + off * width[..., None, None] * np.exp(rng.normal(0, 0.25, (B, 1, views, 1, 1)))
    # pose networks take left for right for as long as a pose lasts, one part or the whole body, and are sure of it
    whole = _stretches(rng, (B, T, views, 1), 0.06 * hard)
    crossed = (whole | _stretches(rng, (B, T, views, len(_PARTS)), 0.06 * hard)) @ _PARTS  # (B, T, V, J)
    at = np.where(crossed[..., None], at[..., MIRROR, :], at)
    scores = np.where(crossed, scores[..., MIRROR], scores)
    swapped = np.where(crossed, ~swapped[..., MIRROR], swapped)
    turned = np.einsum("btvki,btvij->btvkj", np.concatenate((at, np.ones_like(at[..., :1])), -1), axes)
    directions = turned / np.linalg.norm(turned, axis=-1, keepdims=True)

    # calibrations err by tenths of a degree and centimetres, for as long as they are used
    wrong = (rng.random((B, 1, 1)) < 0.6) * rng.uniform(0, 1, (B, 1, 1))
    angles = wrong * rng.normal(0, np.radians(0.25), (B, views, 3))
    directions = directions + np.cross(angles[:, None, :, None], directions)
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    origins = np.broadcast_to((eyes + wrong * rng.normal(0, 0.01, eyes.shape))[:, None], (B, T, views, 3))

    mask = present(rng, B, T, views, hard)
    hidden = _stretches(rng, (B, T, views, J), 0.02 * hard)
    scores = np.where(hidden, 0.0, np.clip(scores, 0, 1)) * mask[..., None]
    return Rays(origins, directions, scores, mask, joints, swapped)


def _eyes(rng: np.random.Generator, middle: Array, views: int) -> Array:
    """Places of cameras `(B, V, 3)`: all around, or for one person in three within 120° on one side."""
    B = len(middle)
    spread = np.where(rng.random((B, 1)) < 1 / 3, 2 * np.pi / 3, 2 * np.pi)
    # one in each of V equal parts: two that stand together are one
    part = (rng.permuted(np.tile(np.arange(views), (B, 1)), axis=1) + rng.uniform(0.1, 0.9, (B, views))) / views
    angle = rng.uniform(-np.pi, np.pi, (B, 1)) + spread * part
    distance = np.exp(rng.uniform(np.log(2.0), np.log(8.0), (B, views)))
    height = rng.uniform(-0.6, 2.2, (B, views)) * rng.uniform(0.2, 1.0, (B, 1))
    out = np.stack((distance * np.cos(angle), distance * np.sin(angle), height), -1)
    return np.asarray(middle[:, None] + out)


def present(rng: np.random.Generator, B: int, T: int, views: int, hard: float) -> NDArray[np.bool_]:
    """Which images there are `(B, T, V)`: cameras miss, for the clip or for a while, but never all of them."""
    mask = ~_stretches(rng, (B, T, views), 0.04 * hard)
    mask &= ~(rng.random((B, 1, views)) < (0.1 * hard if views > 2 else 0.0))
    first = rng.integers(views, size=B)
    mask[np.arange(B), :, first] |= ~mask.any(-1)
    return mask


def _stretches(rng: np.random.Generator, shape: tuple[int, ...], chance: float) -> NDArray[np.bool_]:
    """True for stretches of the second axis, one with `chance` for each of the others, of any length."""
    B, T, *rest = shape
    happens = rng.random((B, 1, *rest)) < chance
    begin, length = rng.uniform(-0.5, 1, (B, 1, *rest)), rng.uniform(0, 1, (B, 1, *rest))
    time = (np.arange(T) / max(T, 1)).reshape(1, T, *(1,) * len(rest))
    return np.asarray(happens & (time >= begin) & (time < begin + length))
