"""Accuracy on rendered clips with exact truth, against plain triangulation of the same network's keypoints.

    python -m synpose_model.render.clips --motions BVH_FOLDER --out clips --count 24 --seed 7
    python benchmarks/rendered_clips.py clips

Errors are means over frames and the twelve limb joints in mm, in the world frame without any alignment; a missing joint
counts as 250 mm. Plain triangulation is the closed-form intersection of the rays, weighted by score, of what the
network said; the share of joints within one and two sigma is that of the answer.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from synpose.calibration import read_calibration
from synpose.options import Options
from synpose_model.measures import mpjpe
from synpose_model.rays import intersect_rays
from synpose_server.engine import Engine
from synpose_server.settings import Settings
from synpose_server.sides import Sides

Array = NDArray[np.float64]

MISSING = 0.25  # metres


@dataclass(frozen=True)
class Run:
    """Answers for one clip, limb joints only: joints `(T, 12, 3)`, sigma `(T, 12)`, plain triangulation, truth."""

    joints: Array
    sigma: Array
    plain: Array
    truth: Array
    cameras: int


class AsSeen(Sides):
    """Leaves left and right as the network says them: the baseline has no memory."""

    def restore(self, origins: Array, directions: Array, keypoints: Array, expected: Array) -> tuple[Array, Array]:
        return keypoints, directions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, metavar="DIR", help="folder of clips")
    parser.add_argument("--model", default="default", metavar="NAME")
    args = parser.parse_args()
    engine = Engine(Settings(), only=args.model)
    table = Table("clip", "cameras", "plain", "answer", "missing", box=None)
    runs = []
    for clip in sorted(path.parent for path in args.clips.glob("*/truth.npz")):
        run = measure(engine, args.model, clip)
        runs.append(run)
        missing = f"{np.isnan(run.joints[..., 0]).mean():.1%}"
        table.add_row(clip.name, str(run.cameras), f"{plain(run):.1f}", f"{answer(run):.1f}", missing)
    table.add_section()
    for name, some in (
        ("2-3 cameras", [run for run in runs if run.cameras < 4]),
        ("4-6 cameras", [run for run in runs if run.cameras >= 4]),
        ("all", runs),
    ):
        if some:
            before, after = np.mean([plain(run) for run in some]), np.mean([answer(run) for run in some])
            table.add_row(name, "", f"{before:.1f}", f"{after:.1f}", "", f"ratio {after / before:.2f}")
    Console().print(table)
    error = np.concatenate([np.linalg.norm(run.joints - run.truth, axis=-1).ravel() for run in runs])
    sigma = np.concatenate([run.sigma.ravel() for run in runs])
    known = np.isfinite(error)
    within = [float((error[known] <= k * sigma[known]).mean()) for k in (1, 2)]
    Console().print(f"within one sigma {within[0]:.1%}, within two {within[1]:.1%}")


def measure(engine: Engine, name: str, clip: Path) -> Run:
    """The answer for `clip`, and the plain triangulation of what the network says along the way."""
    rig = read_calibration(clip / "calibration.json")
    sources = {camera: clip / f"{camera}.mp4" for camera in rig.names}
    limbs = list(engine.model(name).skeleton.limb_joints)
    truth = np.load(clip / "truth.npz")["joints"][:, limbs]
    joints, sigma = np.full(truth.shape, np.nan), np.full(truth.shape[:2], np.nan)
    triangulated = np.full(truth.shape, np.nan)
    with engine.estimate(rig, sources, Options(model=name)) as estimation:
        for frame in estimation:
            for person in frame.people:
                joints[frame.index], sigma[frame.index] = person.joints[limbs], person.sigma[limbs]
    with (
        mock.patch("synpose_server.track.Sides", AsSeen),
        engine.estimate(rig, sources, Options(model=name)) as estimation,
    ):
        origins = np.stack([camera.center for camera in estimation.rig])
        for frame in estimation:
            for seen in estimation.people:
                rays, scores = np.moveaxis(seen.directions, 0, 1), seen.keypoints[..., 2].T
                triangulated[frame.index] = intersect_rays(origins, rays, scores)[limbs]
    return Run(joints, sigma, triangulated, truth, len(rig))


def plain(run: Run) -> float:
    return mpjpe(run.plain, run.truth, MISSING)


def answer(run: Run) -> float:
    return mpjpe(run.joints, run.truth, MISSING)


if __name__ == "__main__":
    main()
