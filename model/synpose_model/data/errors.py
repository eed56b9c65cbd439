"""What a 2D network gets wrong, as it was seen on rendered clips, replayed on any motion and rig.

An error is kept as it came: in each view's own axes, in shares of the crop's width, over time, with its score. So bias
that lasts, heavy tails, shaking, joints that are hidden for a while and scores that go with all that need no model of
their own. Exchanges of left and right are taken apart: whether a keypoint is nearer to its mirror joint, and how far
off it is from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synpose.errors import InvalidInput
from synpose.skeleton import BODY27

__all__ = ["Errors", "azimuth", "collect", "read_errors"]

Array = NDArray[np.float64]

MIRROR = BODY27.mirror


@dataclass(frozen=True, eq=False)
class Errors:
    """N tracks of F frames at 30 a second: `off` `(N, F, J, 2)` in shares of the crop's width (x right, y down),
    `swapped` and `score` `(N, F, J)`, `azimuth` `(N,)` where the camera stood: 0 before the person, π/2 on their left.
    """

    off: NDArray[np.float16]
    swapped: NDArray[np.bool_]
    score: NDArray[np.float16]
    azimuth: NDArray[np.float32]

    def summary(self) -> str:
        """How many and how large, for people: of the joints that have a score."""
        scored = self.score > 0
        size = 100 * np.linalg.norm(self.off.astype(np.float64), axis=-1)[scored]
        return (
            f"{len(self.off)} tracks of {self.off.shape[1]} frames, median {np.median(size):.2f} % of the crop, "
            f"mean {size.mean():.2f} %, left and right exchanged {self.swapped[scored].mean():.2%}"
        )

    def save(self, path: Path) -> None:
        """Write them to the .npz file `path`."""
        np.savez_compressed(path, off=self.off, swapped=self.swapped, score=self.score, azimuth=self.azimuth)

    def replay(
        self, rng: np.random.Generator, azimuth: Array, length: int, step: Array
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]:
        """Errors for views that stand at `azimuth` `(...)`: `off` `(..., length, J, 2)`, `swapped`, `score`.

        Each view gets a stretch of one track, forwards or backwards, of a camera that stood about there, or on the
        other side, mirrored. `step` `(...)` is the time between frames in thirtieths of a second.
        """
        shape = azimuth.shape
        azimuth, step = azimuth.reshape(-1), np.broadcast_to(step, shape).reshape(-1)
        mirrored = rng.random(len(azimuth)) < 0.5
        wanted = np.where(mirrored, -azimuth, azimuth)
        apart = np.abs((wanted[:, None] - self.azimuth + np.pi) % (2 * np.pi) - np.pi)
        # one of the nearest sixth
        near = np.argpartition(apart, max(1, len(self.azimuth) // 6), axis=1)[:, : max(1, len(self.azimuth) // 6)]
        track = near[np.arange(len(azimuth)), rng.integers(near.shape[1], size=len(azimuth))]
        frames = self.off.shape[1]
        step = np.minimum(step, (frames - 1) / max(length - 1, 1))
        begin = rng.uniform(0, 1, len(step)) * (frames - 1 - step * (length - 1))
        at = begin[:, None] + step[:, None] * np.arange(length)
        at = np.where(rng.random(len(step))[:, None] < 0.5, at, frames - 1 - at)
        whole = np.clip(np.floor(at).astype(int), 0, frames - 2)
        t = (at - whole)[..., None, None].astype(np.float32)
        rows = track[:, None]
        nearest = np.clip(np.round(at).astype(int), 0, frames - 1)
        steady = self.swapped[rows, whole] == self.swapped[rows, whole + 1]  # (N, length, J)
        blend = self.off[rows, whole] * (1 - t) + self.off[rows, whole + 1] * t
        off = np.where(steady[..., None], blend, self.off[rows, nearest]).astype(np.float32)
        swapped, score = self.swapped[rows, nearest], self.score[rows, nearest].astype(np.float32)
        side = mirrored[:, None, None]
        off = np.where(side[..., None], off[:, :, MIRROR] * np.array((-1, 1), np.float32), off)
        swapped = np.where(side, swapped[:, :, MIRROR], swapped)
        score = np.where(side, score[:, :, MIRROR], score)
        J = off.shape[2]
        return (
            off.reshape(*shape, length, J, 2),
            swapped.reshape(*shape, length, J),
            score.reshape(*shape, length, J),
        )


def collect(
    keypoints: Sequence[NDArray[np.float32]], truth: Sequence[NDArray[np.float32]], azimuths: Sequence[Array]
) -> Errors:
    """The errors of many clips: `keypoints` `(F, V, K, 3)` against `truth` `(F, V, 27, 2)`, both in shares of the crop.

    K is 27, or 17 for a network that knows COCO's joints only: the others then have no score. `azimuths` `(F, V)`.
    Clips are cut to the shortest, not below 40 frames.
    """
    frames = min(len(clip) for clip in keypoints)
    offs, swaps, scores, angles = [], [], [], []
    for found, true, angle in zip(keypoints, truth, azimuths, strict=True):
        for first in range(0, len(found) - frames + 1, frames):
            for view in range(found.shape[1]):
                part = found[first : first + frames, view]
                at = true[first : first + frames, view]
                K = part.shape[1]
                direct, crossed = part[..., :2] - at[:, :K], part[..., :2] - at[:, MIRROR[:K]]
                far = np.linalg.norm(direct, axis=-1)
                # a swap must explain most of an error that is large
                swapped = (far > 0.03) & (np.linalg.norm(crossed, axis=-1) < 0.5 * far)
                off = np.zeros((frames, 27, 2), np.float16)
                off[:, :K] = np.where(swapped[..., None], crossed, direct)
                flags, score = np.zeros((frames, 27), bool), np.zeros((frames, 27), np.float16)
                flags[:, :K], score[:, :K] = swapped, part[..., 2]
                offs.append(off)
                swaps.append(flags)
                scores.append(score)
                turn = angle[first : first + frames, view]
                angles.append(np.arctan2(np.sin(turn).mean(), np.cos(turn).mean()))
    return Errors(np.stack(offs), np.stack(swaps), np.stack(scores), np.array(angles, np.float32))


def azimuth(joints: Array, eyes: Array) -> Array:
    """Where cameras at `eyes` `(..., V, 3)` stand around people with `joints` `(..., 27, 3)`, z up: `(..., V)` radians.

    0 is before the person, π/2 on their left.
    """
    left = (joints[..., 11, :] - joints[..., 12, :] + joints[..., 5, :] - joints[..., 6, :])[..., :2]
    left = left / np.maximum(np.linalg.norm(left, axis=-1, keepdims=True), 1e-6)
    front = np.stack((left[..., 1], -left[..., 0]), -1)
    to = (eyes - joints[..., 11:13, :].mean(-2)[..., None, :])[..., :2]
    return np.asarray(np.arctan2((to * left[..., None, :]).sum(-1), (to * front[..., None, :]).sum(-1)))


def read_errors(path: Path) -> Errors:
    """The errors in the file `path`; raises `InvalidInput` where there are none."""
    try:
        with np.load(path) as file:
            return Errors(file["off"], file["swapped"], file["score"], file["azimuth"])
    except (OSError, KeyError, ValueError) as error:
        raise InvalidInput(f"no errors in {path} ({error})", field="data") from None
