"""How far served bundles, and learning-free baselines on the same detections, are from the truth of rendered clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synpose.errors import InvalidInput
from synpose.options import Options
from synpose.skeleton import BODY27, Skeleton
from synpose_model.measures import auc, mpjpe, mse_2d, p_mpjpe, pck, pck_2d, root_relative
from synpose_server.baselines import Baseline, Detections
from synpose_server.engine import Engine
from synpose_server.evaluate_people import PeopleMeasures, follow_people
from synpose_server.rendered_clip import RenderedClip

__all__ = [
    "LIMBS",
    "Case",
    "Keypoints2D",
    "Measures",
    "RenderedReport",
    "camera_choices",
    "evaluate_rendered",
    "measure",
]

Array = NDArray[np.float64]

MISSING = 0.25  # metres that a missing joint counts as
LIMBS = list(BODY27.limb_joints)
_HIPS = [BODY27.joints.index(f"{side}_hip") for side in ("left", "right")]
_SURE = 0.1  # of the person's extent in the image, within which a keypoint counts as right


@dataclass(frozen=True)
class Measures:
    """Means over frames and joints, mm and shares; NaN for what cannot be measured.

    A missing joint counts as 250 mm in every error. `root_mpjpe` is relative to the middle of the hips, `p_mpjpe` after
    the best similarity transform of each frame. `within_one_sigma` and `within_two_sigma` are of the joints that are
    known, and `sigma_scale` is what sigma would have to be multiplied by for 68.27 % of them to lie within one and 93 %
    at least within two: errors have longer tails than a normal distribution.
    """

    mpjpe: float
    root_mpjpe: float
    p_mpjpe: float
    pck_150: float
    auc: float
    within_one_sigma: float
    within_two_sigma: float
    sigma_scale: float
    missing: float


@dataclass(frozen=True)
class Keypoints2D:
    """What the spatial graph said of the limb joints that are in the image, whether visible or hidden.

    `pck` is the share within a tenth of the person's extent in that image, a missing keypoint counts as wrong; `mse` is
    the mean squared error of the coordinates of those that are not missing, in pixels².
    """

    pck: float
    mse: float
    missing: float


@dataclass(frozen=True, eq=False)
class Case:
    """One method's answer for one clip from some of its cameras, in `BODY27`'s joints.

    `joints` and `truth` `(T, 27, 3)` metres, world; `sigma` `(T, 27)`, NaN for methods that give none; `views`
    `(T, 27)` in how many of the cameras' images each joint is visible.
    """

    method: str
    clip: str
    cameras: tuple[str, ...]
    joints: Array
    sigma: Array
    truth: Array
    views: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RenderedReport:
    """All that was measured: `cases` one by one, and by model what its spatial graph saw in each of `keypoints`.

    `skipped` says of baselines why they did not run. `followed` are the measures of clips of several people, which are
    nowhere else.
    """

    clips: Sequence[RenderedClip]
    cases: Sequence[Case]
    keypoints: Mapping[str, Mapping[str, Keypoints2D]]
    skipped: Mapping[str, str]
    followed: Sequence[PeopleMeasures] = ()

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(case.method for case in self.cases))

    def groups(self, method: str, joints: Sequence[int] = tuple(LIMBS)) -> dict[str, Measures]:
        """Measures by group of cases, over `joints`: all, by number of cameras, and by views that see a joint.

        Single cameras are a group of their own: what they say of distance is a guess.

        The last ones, "seen by n", are over single joints of single frames: relative errors do not exist there.
        """
        cases = [case for case in self.cases if case.method == method]
        several = [case for case in cases if len(case.cameras) > 1] or cases
        counts = sorted({len(case.cameras) for case in cases})
        chosen = {
            "all": several,
            **{f"{n} cameras": [c for c in cases if len(c.cameras) == n] for n in counts},
            "2-3 cameras": [c for c in cases if 2 <= len(c.cameras) < 4],
            "4+ cameras": [c for c in cases if len(c.cameras) >= 4],
        }
        groups = {name: measure(some, joints) for name, some in chosen.items() if some}
        for name, views in (("0", (0,)), ("1", (1,)), ("2", (2,)), ("3+", range(3, 17))):
            groups[f"seen by {name}"] = measure(several, joints, views)
        return groups

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON; NaN where something cannot be measured."""
        everything = range(len(BODY27))
        return {
            "missing_joint_mm": MISSING * 1e3,
            "clips": [
                {"name": c.name, "motion": c.motion, "child": c.child, "cameras": len(c.rig), "frames": len(c.joints)}
                for c in self.clips
            ],
            "methods": {
                method: {
                    "limb_joints": {name: asdict(m) for name, m in self.groups(method).items()},
                    "all_joints": {name: asdict(m) for name, m in self.groups(method, tuple(everything)).items()},
                }
                for method in self.methods
            },
            "keypoints": {m: {name: asdict(k) for name, k in seen.items()} for m, seen in self.keypoints.items()},
            "cases": [
                {
                    "method": case.method,
                    "clip": case.clip,
                    "cameras": case.cameras,
                    "limb_joints": asdict(measure([case], LIMBS)),
                    "all_joints": asdict(measure([case], everything)),
                }
                for case in self.cases
            ],
            "people": [asdict(m) for m in self.followed],
            "skipped": dict(self.skipped),
        }


def evaluate_rendered(
    engines: Mapping[str, Engine],
    clips: Sequence[RenderedClip],
    baselines: Mapping[str, Baseline],
    skipped: Mapping[str, str],
    sizes: Sequence[int] = (),
    subsets: int = 6,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> RenderedReport:
    """Estimate every clip by every model, from all its cameras and from `subsets` of as many as `sizes` say.

    `engines` are by model. `baselines` run on the detections of each spatial graph once, those of the first model that
    has it, and are called "baseline (model)". A model that needs more cameras than a subset has is left out there.
    Clips of several people are estimated from all their cameras, without baselines. `progress` is told what is done,
    how many of the images are read, and how many there are. Raises as
    `Engine.estimate`.
    """
    crowds = [clip for clip in clips if clip.others]
    clips = [clip for clip in clips if not clip.others]
    chosen = [(clip, cameras) for clip in clips for cameras in camera_choices(clip, sizes, subsets)]
    total = len(engines) * sum(len(clip.joints) * len(cameras) for clip, cameras in chosen)
    done = 0
    cases: list[Case] = []
    seen: dict[str, list[tuple[RenderedClip, Detections]]] = {}  # by model
    graphs: dict[str, str] = {}  # the model whose detections stand for a spatial graph, by its checksum
    for name, engine in engines.items():
        graphs.setdefault(engine.model(name).bundle.checksums["spatial"], name)
    for whole, cameras in chosen:
        clip = whole.subset(cameras)
        for name, engine in engines.items():
            if len(cameras) < engine.model(name).bundle.min_views:
                total -= len(clip.joints) * len(cameras)
                continue
            answer, detections = _estimate(engine, name, clip)
            cases.append(answer)
            done += len(clip.joints) * len(cameras)
            progress(f"{clip.name}: {name}", done, total)
            if name not in graphs.values():
                continue
            seen.setdefault(name, []).append((clip, detections))
            for baseline in baselines.values() if len(cameras) > 1 else ():
                progress(f"{clip.name}: {baseline.name} ({name})", done, total)
                joints = _in_body27(baseline.run(detections), detections.skeleton)
                cases.append(_case(f"{baseline.name} ({name})", clip, joints, np.full(joints.shape[:2], np.nan)))
    keypoints = {name: _keypoints(pairs) for name, pairs in seen.items()}
    followed = []
    images = [len(clip.joints) * len(clip.rig) * (1 + len(clip.alone)) for clip in crowds]
    total += len(engines) * sum(images)
    for clip, count in zip(crowds, images, strict=True):
        for name, engine in engines.items():
            followed.append(follow_people(engine, name, clip))
            done += count
            progress(f"{clip.name}: {name}", done, total)
    return RenderedReport(clips, cases, keypoints, skipped, followed)


def camera_choices(clip: RenderedClip, sizes: Sequence[int], most: int = 6) -> list[tuple[str, ...]]:
    """All cameras of `clip`, and of every subset as large as one of `sizes` up to `most`, drawn by the clip's name."""
    names = clip.rig.names
    if wrong := [size for size in sizes if size < 1]:
        raise InvalidInput(f"{wrong[0]} cameras cannot give 3D", field="cameras")
    if most < 1:
        raise InvalidInput(f"{most} subsets are none", field="subsets")
    choices = [names]
    rng = np.random.default_rng(list(clip.name.encode()))
    for size in sorted(set(sizes)):
        subsets = list(combinations(names, size)) if size < len(names) else []
        order = rng.permutation(len(subsets))[:most]
        choices += [subsets[i] for i in sorted(order)]
    return choices


def measure(cases: Sequence[Case], joints: Sequence[int], views: Sequence[int] | None = None) -> Measures:
    """Measures over the frames of `cases` and `joints`, or of those joints alone that so many `views` see.

    Joints without truth are left out. With `views`, errors relative to a whole pose are NaN.
    """
    at = list(joints)
    said, truth = (np.concatenate([getattr(case, name) for case in cases]) for name in ("joints", "truth"))
    rooted, true_rooted = _from_hips(said)[:, at], _from_hips(truth)[:, at]
    said, truth = said[:, at], truth[:, at]
    sigma = np.concatenate([case.sigma[:, at] for case in cases])
    if views is not None:
        left_out = ~np.isin(np.concatenate([case.views[:, at] for case in cases]), list(views))
        truth = np.where(left_out[..., None], np.nan, truth)
        true_rooted = np.full_like(true_rooted, np.nan)
    asked = np.isfinite(truth).all(-1)
    error = np.linalg.norm(said - truth, axis=-1)
    told = np.isfinite(error) & np.isfinite(sigma)
    return Measures(
        mpjpe=mpjpe(said, truth, MISSING),
        root_mpjpe=mpjpe(rooted, true_rooted, MISSING),
        p_mpjpe=p_mpjpe(said, truth, MISSING) if views is None else np.nan,
        pck_150=pck(said, truth),
        auc=auc(said, truth),
        within_one_sigma=_mean(error[told] <= sigma[told]),
        within_two_sigma=_mean(error[told] <= 2 * sigma[told]),
        sigma_scale=_sigma_scale(error[told] / sigma[told]),
        missing=_mean(~np.isfinite(said).all(-1)[asked]),
    )


def _sigma_scale(sigmas: Array) -> float:
    """`Measures.sigma_scale` of errors in sigmas."""
    if not len(sigmas):
        return np.nan
    one, two = np.quantile(sigmas, (0.6827, 0.93))
    return float(max(one, two / 2))


def _mean(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if values.size else np.nan


def _from_hips(joints: Array) -> Array:
    """`joints` `(T, 27, 3)` as seen from the middle of the hips, which networks and truth define alike."""
    middle = joints[:, _HIPS].mean(1, keepdims=True)
    return root_relative(np.concatenate((middle, joints), 1))[:, 1:]


def _estimate(engine: Engine, name: str, clip: RenderedClip) -> tuple[Case, Detections]:
    """The answer of model `name` for `clip`, and what its spatial graph said on the way."""
    skeleton = engine.model(name).keypoint_skeleton
    joints = np.full(clip.joints.shape, np.nan)
    sigma = np.full(joints.shape[:2], np.nan)
    keypoints = np.zeros((len(joints), len(clip.rig), len(skeleton), 3))
    with engine.estimate(clip.rig, clip.videos, Options(model=name, skeleton=BODY27.name)) as estimation:
        for frame in estimation:
            if frame.index >= len(joints):
                raise InvalidInput(f"{clip.name}: the videos are longer than the truth", field="clips")
            for person, tracked in zip(frame.people, estimation.people, strict=True):
                joints[frame.index], sigma[frame.index] = person.joints, person.sigma
                keypoints[frame.index] = tracked.as_read
        rig = estimation.rig
    return _case(name, clip, joints, sigma), Detections(rig, skeleton, keypoints, clip.fps)


def _case(method: str, clip: RenderedClip, joints: Array, sigma: Array) -> Case:
    return Case(method, clip.name, clip.rig.names, joints, sigma, clip.joints, (clip.visibility == 2).sum(0))


def _in_body27(joints: Array, skeleton: Skeleton) -> Array:
    """Joints `(T, K, 3)` of `skeleton` in those of `BODY27`, NaN where they cannot be read."""
    weights = BODY27.reads_from(skeleton)
    lost = ~np.isfinite(joints).all(-1)  # (T, K)
    known = (weights.sum(-1) > 0) & (lost.astype(float) @ weights.T == 0)  # (T, 27)
    return np.where(known[..., None], weights @ np.nan_to_num(joints), np.nan)


def _keypoints(pairs: Sequence[tuple[RenderedClip, Detections]]) -> dict[str, Keypoints2D]:
    """Measures of the keypoints of all images, and of the visible and the hidden joints in them."""
    parts = [part for clip, seen in pairs for part in _compared(clip, seen)]
    said, true, extent, visibility = (np.concatenate(part) for part in zip(*parts, strict=True))
    groups = {"in the image": visibility > 0, "visible": visibility == 2, "hidden": visibility == 1}

    def measures(use: NDArray[np.bool_]) -> Keypoints2D:
        truth = np.where(use[..., None], true, np.nan)
        return Keypoints2D(
            pck_2d(said, truth, extent, _SURE), mse_2d(said, truth), _mean(~np.isfinite(said).all(-1)[use])
        )

    return {name: measures(use) for name, use in groups.items()}


def _compared(clip: RenderedClip, seen: Detections) -> Iterator[tuple[Array, Array, Array, NDArray[np.uint8]]]:
    """Of each view the limbs' keypoints `(T, 12, 2)`, their truth, extents of the person `(T,)`, visibility `(T, 12)`.

    Keypoints are NaN where the network saw none; the extent is the long side of the box around all true joints.
    """
    at = [seen.skeleton.joints.index(BODY27.joints[j]) for j in LIMBS]
    for v, camera in enumerate(seen.rig):
        true = camera.project(clip.joints)  # (T, 27, 2)
        extent = (np.nanmax(true, 1) - np.nanmin(true, 1)).max(-1)
        said = seen.keypoints[:, v, at]
        yield np.where(said[..., 2:] > 0, said[..., :2], np.nan), true[:, LIMBS], extent, clip.visibility[v][:, LIMBS]
