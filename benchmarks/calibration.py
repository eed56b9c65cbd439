"""How near cameras that were calibrated from the person come to those that are known, and what that does to joints.

    python benchmarks/calibration.py example --height 1.68
    python benchmarks/calibration.py rendered CLIPS [--lenses known|same|unknown] [--delay 7]

Cameras are compared after one similarity that aligns directions and centres of the whole rig: rotations in degrees,
centres as a share of the rig's size (root mean square distance of its centres from their middle). Joints of rendered
clips are compared with the truth, in mm after one similarity a clip, once with the calibration that was found and once
with the true one. `--delay` takes so many images from the beginning of the second camera's keypoints.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synpose.calibrated import Calibrated
from synpose.calibration import read_calibration
from synpose.calibration_options import CalibrationOptions
from synpose.errors import CalibrationError
from synpose.options import Options
from synpose.rig import Rig
from synpose.skeleton import BODY27
from synpose_server.calibrate.estimate import calibrate_tracks
from synpose_server.calibrate.intrinsics import unknown_camera
from synpose_server.calibrate.keypoints2d import follow
from synpose_server.engine import Engine
from synpose_server.rendered_clip import RenderedClip, read_clips
from synpose_server.settings import Settings
from synpose_server.synchronise import FrameSets

Array = NDArray[np.float64]

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "balancing"
LIMBS = list(BODY27.limb_joints)


@dataclass(frozen=True)
class Difference:
    """Of a rig from the true one, by camera: degrees, shares of the rig's size; `scale` is the true one over it."""

    degrees: Array
    shares: Array
    scale: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("example", "rendered"))
    parser.add_argument("clips", nargs="?", type=Path, metavar="CLIPS", help="folder of `synpose render clips`")
    parser.add_argument("--lenses", choices=("known", "same", "unknown"), default="known")
    parser.add_argument("--height", type=float, default=1.68, metavar="M", help="of the man of the example")
    parser.add_argument("--delay", type=int, default=0, metavar="N", help="frames that the second camera starts late")
    parser.add_argument("--joints", action="store_true", help="compare joints, too")
    parser.add_argument("--least-cameras", type=int, default=3, metavar="N", help="clips with fewer are left out")
    args = parser.parse_args()
    engine = Engine(Settings(), only="default")
    if args.what == "example":
        videos = {path.stem: path for path in sorted(EXAMPLE.glob("*.mp4"))}
        rig = read_calibration(EXAMPLE / "Calib.qca.txt").subset(tuple(videos))
        keypoints, rig = read(engine, videos, rig)
        show("balancing", *found(keypoints, rig, args, args.height))
        return
    degrees: list[float] = []
    shares: list[float] = []
    offsets: list[float] = []
    ratios: list[float] = []
    refused = 0
    for clip in read_clips(args.clips):
        if len(clip.rig) < args.least_cameras:
            continue
        keypoints, rig = read(engine, clip.videos, clip.rig)
        try:
            calibrated, difference = found(keypoints, rig, args, stature(clip.joints))
        except CalibrationError as error:
            print(f"{clip.name} ({len(rig)} cameras): refused: {error}", flush=True)
            refused += 1
            continue
        show(f"{clip.name} ({len(rig)} cameras)", calibrated, difference)
        degrees.extend(difference.degrees)
        shares.extend(difference.shares)
        offsets += [abs(c.offset + args.delay * (v == 1)) for v, c in enumerate(calibrated.report.cameras) if v]
        if args.joints:
            mine, true = (joint_error(engine, clip, own) for own in (calibrated.rig, rig))
            ratios.append(mine / true)
            print(f"    joints: {mine:.1f} mm, with the true calibration {true:.1f} mm", flush=True)
    print(f"refused: {refused}")
    if not degrees:
        return
    for label, values, unit in (("rotation", degrees, "°"), ("centre", 100 * np.array(shares), " %")):
        median, most = np.median(values), np.percentile(values, 90)
        print(f"{label}: median {median:.2f}{unit}, 90th percentile {most:.2f}{unit}")
    if args.delay:
        wrong = sum(offset > 1 for offset in offsets)
        print(f"offset: median error {np.median(offsets):.2f} frames, {wrong} of {len(offsets)} off by more than one")
    if ratios:
        within = sum(ratio <= 1.2 for ratio in ratios)
        print(
            f"joints: median {np.median(ratios):.2f} of the true calibration's error,"
            f" {within} of {len(ratios)} within 1.2"
        )


def read(engine: Engine, videos: Mapping[str, Path], rig: Rig) -> tuple[Array, Rig]:
    """Keypoints `(N, V, K, 3)` of the videos, and `rig` as they are sized."""
    frame_sets = FrameSets(videos, engine.settings.max_pixels)
    try:
        sized = Rig(tuple(rig[reader.camera].resized(reader.size) for reader in frame_sets.readers))
        images = (frame_set.images for frame_set in frame_sets)
        return np.stack(list(follow(engine.model("default"), images))), sized
    finally:
        frame_sets.close()


def found(keypoints: Array, rig: Rig, args: argparse.Namespace, height: float) -> tuple[Calibrated, Difference]:
    """The calibration from `keypoints`, and how far it is from `rig`."""
    if args.delay:
        keypoints = np.stack(
            [own[args.delay :] if v == 1 else own[: -args.delay] for v, own in enumerate(keypoints.swapaxes(0, 1))], 1
        )
    known = args.lenses == "known"
    options = CalibrationOptions(height=height, same_lens=args.lenses == "same", max_offset=0.5 if args.delay else 0.0)
    cameras = list(rig) if known else [unknown_camera(camera.name, camera.size) for camera in rig]
    calibrated = calibrate_tracks(keypoints, cameras, np.full(len(rig), not known), options, 30.0)
    return calibrated, compare(calibrated.rig, rig)


def compare(rig: Rig, true: Rig) -> Difference:
    """After the similarity that aligns directions, then centres."""
    pairs = list(zip(rig, true, strict=True))
    U, _, Vt = np.linalg.svd(np.sum([b.R.T @ a.R for a, b in pairs], axis=0))
    turn = U @ np.diag((1, 1, np.linalg.det(U @ Vt))) @ Vt
    cosines = np.array([(np.trace(b.R @ turn @ a.R.T) - 1) / 2 for a, b in pairs])
    mine, given = (np.stack([camera.center for camera in own]) for own in (rig, true))
    mine, given = mine @ turn.T, given - given.mean(0)
    mine = mine - mine.mean(0)
    scale = float((mine * given).sum() / (mine**2).sum())
    size = np.sqrt((given**2).sum(-1).mean())
    shares = np.linalg.norm(scale * mine - given, axis=-1) / size
    return Difference(np.degrees(np.arccos(np.clip(cosines, -1, 1))), shares, scale)


def joint_error(engine: Engine, clip: RenderedClip, rig: Rig) -> float:
    """Mean error of the limb joints in mm after one similarity over the whole clip."""
    with engine.estimate(rig, clip.videos, Options(skeleton="body27")) as estimation:
        frames = list(estimation)
    joints = np.full(clip.joints.shape, np.nan)
    for frame, out in zip(frames, joints, strict=False):
        if frame.people:
            out[:] = frame.people[0].joints
    a, b = joints[:, LIMBS].reshape(-1, 3), clip.joints[:, LIMBS].reshape(-1, 3)
    both = np.isfinite(a).all(-1) & np.isfinite(b).all(-1)
    a, b = a[both], b[both]
    a, b = a - a.mean(0), b - b.mean(0)
    U, S, Vt = np.linalg.svd(b.T @ a)
    sign = np.array((1, 1, np.linalg.det(U @ Vt)))
    turned = a @ ((U * sign) @ Vt).T * (S * sign).sum() / (a**2).sum()
    return float(np.linalg.norm(turned - b, axis=-1).mean() * 1e3)


def stature(joints: Array) -> float:
    """Of the true `joints` `(T, 27, 3)`: head's top, neck, pelvis, knee and ankle one after the other, and the foot."""
    at = BODY27.joints.index

    def usual(a: str, b: str) -> float:
        return float(np.nanmedian(np.linalg.norm(joints[:, at(a)] - joints[:, at(b)], axis=-1)))

    legs = usual("left_hip", "left_knee") + usual("left_knee", "left_ankle")
    return legs + usual("neck", "pelvis") + usual("head", "neck") + 0.039 / 0.961 * legs


def show(name: str, calibrated: Calibrated, difference: Difference) -> None:
    def listed(values: Iterator[float], digits: int) -> str:
        return " ".join(f"{value:.{digits}f}" for value in values)

    cameras = calibrated.report.cameras
    print(
        f"{name}: rotation {listed(iter(difference.degrees), 2)}°, centre {listed(iter(100 * difference.shares), 1)} %,"
        f" true scale {difference.scale:.3f}; told: direction ± {listed((c.rotation_error for c in cameras), 2)}°,"
        f" reprojection {listed((c.reprojection for c in cameras), 1)} px, focal"
        f" {listed((c.focal for c in cameras), 0)}, offset {listed((c.offset for c in cameras), 2)}",
        flush=True,
    )


if __name__ == "__main__":
    main()
