"""Motions as joints: every motion of a split on several random bodies, made once and kept in one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synpose.errors import InvalidInput
from synpose_model.data.splits import motions_of

__all__ = ["Poses", "read_poses", "save_poses", "write_poses"]

Single = NDArray[np.float32]

_FPS = 30.0
_UNIT = 2e-4  # metres: of the whole numbers in a file; float16 would shake by a millimetre


@dataclass(frozen=True, eq=False)
class Poses:
    """Sequences one after the other: `joints` `(N, 27, 3)` metres, z up.

    Sequence i is `starts[i]` to `starts[i + 1]`.
    """

    joints: Single
    starts: NDArray[np.int64]

    fps = _FPS

    def windows(self, rng: np.random.Generator, count: int, length: int, step: NDArray[np.float64]) -> Single:
        """`count` random windows `(count, length, 27, 3)`, `step` `(count,)` frames apart.

        Between frames by cubic splines. Sequences are drawn by their length; one that is too short for the window is
        slowed down.
        """
        sizes = np.diff(self.starts)
        chosen = rng.choice(len(sizes), count, p=sizes / sizes.sum())
        most = (sizes[chosen] - 1.01) / max(length - 1, 1)
        step = np.minimum(step, most)
        begin = rng.uniform(0, 1, count) * (sizes[chosen] - 1.01 - step * (length - 1))
        at = begin[:, None] + step[:, None] * np.arange(length)  # (count, length), within the sequence
        whole = np.floor(at).astype(int)
        t = (at - whole)[..., None, None].astype(np.float32)
        last = sizes[chosen][:, None] - 1
        a, b, c, d = (self.joints[self.starts[chosen][:, None] + np.clip(whole + i, 0, last)] for i in (-1, 0, 1, 2))
        # Catmull and Rom's spline
        out = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
        return np.asarray(out, dtype=np.float32)


def write_poses(
    motions: Path,
    path: Path,
    *,
    split: str,
    bodies: int,
    seed: int,
    progress: Callable[[int], None] = lambda count: None,
) -> None:
    """Put every motion of `split` in the folder `motions` on `bodies` random bodies each; write the joints to `path`.

    Needs the extra `render`. `progress` is told how many motions there are after each one.
    """
    from synpose_model.render.body import BodyModel, random_phenotype
    from synpose_model.render.bvh import read_bvh
    from synpose_model.render.retarget import retarget

    paths = motions_of(motions, split)
    model = BodyModel()
    rng = np.random.default_rng(seed)
    parts = []
    for file in paths:
        motion = read_bvh(file)
        step = max(1, round(1 / (_FPS * motion.frame_time)))
        for _ in range(bodies):
            body = model.shaped(random_phenotype(rng, bool(rng.random() < 1 / 3)))
            transforms = retarget(motion, slice(1, len(motion), step), body)
            parts.append(body.posed_joints(transforms))
        progress(len(paths))
    save_poses(path, parts)


def save_poses(path: Path, sequences: Sequence[NDArray[np.floating]]) -> None:
    """Write `sequences` `(T, 27, 3)`, metres, to the .npz file `path`, each moved over the origin."""
    centred = [sequence - sequence.mean((0, 1)) * (1, 1, 0) for sequence in sequences]
    whole = np.round(np.clip(np.concatenate(centred) / _UNIT, -32767, 32767)).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, joints=whole, starts=np.cumsum([0, *map(len, centred)]))


def read_poses(path: Path) -> Poses:
    """The poses in the file `path`; raises `InvalidInput` where there are none."""
    try:
        with np.load(path) as file:
            return Poses(file["joints"] * np.float32(_UNIT), file["starts"])
    except (OSError, KeyError, ValueError) as error:
        raise InvalidInput(
            f"no poses in {path}: make them with `synpose render training` ({error})", field="data"
        ) from None
