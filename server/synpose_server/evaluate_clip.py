"""What can be said about an answer without knowing the truth: how well its cameras agree with each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from synpose.errors import InvalidInput
from synpose.options import Options
from synpose.pose import Frame, PoseHeader, PoseSequence
from synpose.rig import Rig
from synpose_model.measures import jitter, limb_spread, missing_share, mpjpe, reprojection_error
from synpose_server.engine import Engine
from synpose_server.sources import Source
from synpose_server.synchronise import skips
from synpose_server.track import TrackedPerson

__all__ = ["ClipReport", "evaluate_clip"]

Array = NDArray[np.float64]

_MOST = 10  # subsets of one size that are estimated; of more, as many as lie evenly among them


@dataclass(frozen=True)
class ClipReport:
    """Label-free measures of one clip, of the person who appears most; millimetres unless the name says otherwise.

    `held_out` maps each camera to the leave-one-camera-out reprojection error (pixels, mm at the person): its keypoints
    against the pose that the other cameras give, estimated without it. Where a network is told what to expect, these
    keypoints are read without that, or they would know what the others saw. `subsets` maps numbers of cameras to the
    mean distance of limb joints between estimates of subsets of that size, ten at the most, and that of all cameras.
    """

    frames: int
    answered: int
    people: int
    mean_sigma: float
    held_out: Mapping[str, tuple[float, float]]
    limb_spread: float
    jitter: float
    missing: float
    subsets: Mapping[int, float]

    @property
    def held_out_mean(self) -> tuple[float, float]:
        """The leave-one-camera-out error over all cameras, in pixels and in mm; NaN with two cameras."""
        values = np.array(list(self.held_out.values())).reshape(-1, 2)
        return (float(values[:, 0].mean()), float(values[:, 1].mean())) if len(values) else (np.nan, np.nan)


def evaluate_clip(
    engine: Engine,
    rig: Rig,
    sources: Mapping[str, Source],
    options: Options,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
    sizes: Sequence[int] = (2, 3),
) -> tuple[PoseSequence, ClipReport]:
    """Estimate a clip and measure its answer; raises as `Engine.estimate`, and `InvalidInput` if nobody is seen.

    `sources` are read once for the answer and once for each set of fewer cameras: without each one, and of `sizes`.
    `progress` is told how many frames of all that are done, and of how many, where that is known.
    """
    names = [camera.name for camera in rig if camera.name in sources]
    without = {name: tuple(n for n in names if n != name) for name in names if len(names) > 2}
    subsets = {size: _some([*combinations(names, size)]) for size in sizes if size < len(names)}
    fewer = dict.fromkeys([*without.values(), *(cameras for some in subsets.values() for cameras in some)])
    left_out = skips(names, options.offsets)
    options = replace(options, offsets=left_out)
    tells = bool(without) and engine.model(options.model).expects

    done, runs = 0, 1 + tells + len(fewer)

    def estimate(cameras: Sequence[str], *, told: bool = True) -> _Estimate:
        earlier = min(left_out[name] for name in cameras)  # frames that begin before all cameras have images
        with engine.estimate(rig, {name: sources[name] for name in cameras}, options, told=told) as estimation:
            frames, people = [], []
            for frame in estimation:
                nonlocal done
                done += 1
                progress(done, None if estimation.count is None else runs * estimation.count)
                frames.append(frame)
                people.append(estimation.people)
            return _Estimate(estimation.rig, estimation.header, frames[earlier:], people[earlier:])

    whole = estimate(names)
    counts = Counter(person.id for people in whole.people for person in people)
    if not counts:
        raise InvalidInput("nobody is seen in the clip: there is nothing to measure", field="video")
    main = counts.most_common(1)[0][0]
    limbs = list(engine.model(options.model).skeleton.limb_joints)
    joints, sigma = (np.full((len(whole.people), len(limbs), *shape), np.nan) for shape in ((3,), ()))
    for t, people in enumerate(whole.people):
        for person in people:
            if person.id == main:
                joints[t], sigma[t] = person.joints[limbs], person.sigma[limbs]

    apart = {cameras: estimate(cameras).near(joints, limbs)[0] for cameras in fewer}
    keypoints = (estimate(names, told=False) if tells else whole).near(joints, limbs)[1]
    held_out = {}
    for view, camera in enumerate(whole.rig):
        if camera.name in without:
            pixels, millimetres = reprojection_error(camera, apart[without[camera.name]], keypoints[:, view])
            if pixels.size:
                held_out[camera.name] = (float(pixels.mean()), float(millimetres.mean()))
    sequence = PoseSequence(whole.header, tuple(whole.frames))
    answer, skeleton = sequence.joints(main), whole.header.skeleton
    return sequence, ClipReport(
        frames=len(whole.frames),
        answered=sum(bool(frame.people) for frame in whole.frames),
        people=len(counts),
        mean_sigma=float(np.nanmean(sigma)) * 1e3,
        held_out=held_out,
        limb_spread=limb_spread(answer, skeleton),
        jitter=jitter(answer, skeleton),
        missing=missing_share(answer, skeleton),
        subsets={
            size: float(np.nanmean([mpjpe(apart[cameras], joints) for cameras in some]))
            for size, some in subsets.items()
        },
    )


@dataclass(frozen=True)
class _Estimate:
    """One estimate of the clip: the frames of the answer, and who was seen in each."""

    rig: Rig
    header: PoseHeader
    frames: Sequence[Frame]
    people: Sequence[Sequence[TrackedPerson]]

    def near(self, joints: Array, which: Sequence[int]) -> tuple[Array, Array]:
        """Of whom is nearest to `joints` `(T, N, 3)` at each instant: their joints `which` `(T, N, 3)`, world, and
        keypoints `(T, V, N, 3)`; NaN and unseen where nobody is, or where `joints` are NaN.
        """
        T, N = joints.shape[:2]
        found, keypoints = np.full((T, N, 3), np.nan), np.zeros((T, len(self.rig), N, 3))
        for t, people in enumerate(self.people[:T]):  # without the shortest camera there are more
            if people and np.isfinite(joints[t]).any():
                away = [float(np.nanmedian(np.linalg.norm(p.joints[which] - joints[t], axis=-1))) for p in people]
                nearest = people[int(np.nanargmin(away))]
                found[t], keypoints[t] = nearest.joints[which], nearest.keypoints[:, which]
        return found, keypoints


def _some(subsets: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [subsets[i] for i in np.linspace(0, len(subsets) - 1, min(_MOST, len(subsets))).round().astype(int)]
