"""What can be said about an answer without knowing the truth: how well its cameras agree with each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from synpose.errors import InvalidInput
from synpose.options import Options
from synpose.pose import Frame, PoseSequence
from synpose.rig import Rig
from synpose_model.measures import jitter, limb_spread, missing_share, mpjpe, reprojection_error
from synpose_server.engine import Engine
from synpose_server.runtime import Model
from synpose_server.sources import Source
from synpose_server.track import TrackedPerson

__all__ = ["ClipReport", "evaluate_clip"]

Array = NDArray[np.float64]

_CHUNK = 64  # windows in one run of the relation graph


@dataclass(frozen=True)
class ClipReport:
    """Label-free measures of one clip, of the person who appears most; millimetres unless the name says otherwise.

    `held_out` maps each camera to the leave-one-camera-out reprojection error (pixels, mm at the person): its keypoints
    against the pose that the other cameras give. `subsets` maps numbers of cameras to the mean distance of limb joints
    between all subsets of that size and all cameras.
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
    progress: Callable[[Frame], None] = lambda frame: None,
) -> tuple[PoseSequence, ClipReport]:
    """Estimate a clip and measure its answer; raises as `Engine.estimate`, and `InvalidInput` if nobody is seen."""
    frames: list[Frame] = []
    seen: list[list[TrackedPerson]] = []
    with engine.estimate(rig, sources, options) as estimation:
        for frame in estimation:
            frames.append(frame)
            seen.append(estimation.people)
            progress(frame)
        rig, header = estimation.rig, estimation.header
    sequence = PoseSequence(header, tuple(frames))
    counts = Counter(person.id for people in seen for person in people)
    if not counts:
        raise InvalidInput("nobody is seen in the clip: there is nothing to measure", field="video")
    main = counts.most_common(1)[0][0]
    person = [p for people in seen for p in people if p.id == main]
    lift = _Lifter(engine.model(options.model), rig, person)

    everything = range(len(rig))
    skeleton = lift.model.skeleton
    limbs = list(skeleton.limb_joints)
    keypoints = np.stack([p.keypoints for p in person])  # (T, V, K, 3)
    whole = lift(everything)
    held_out = {}
    for view, camera in enumerate(rig) if len(rig) > 2 else ():
        others = lift([v for v in everything if v != view])
        pixels, millimetres = reprojection_error(camera, others[:, limbs], keypoints[:, view, limbs])
        if pixels.size:
            held_out[camera.name] = (float(pixels.mean()), float(millimetres.mean()))
    subsets = {
        size: float(
            np.nanmean([mpjpe(lift(views)[:, limbs], whole[:, limbs]) for views in combinations(everything, size)])
        )
        for size in (2, 3)
        if size < len(rig)
    }
    joints = sequence.joints(main)
    return sequence, ClipReport(
        frames=len(frames),
        answered=sum(bool(frame.people) for frame in frames),
        people=len(counts),
        mean_sigma=float(np.nanmean(np.stack([p.sigma for p in person])[:, limbs])) * 1e3,
        held_out=held_out,
        limb_spread=limb_spread(joints, header.skeleton),
        jitter=jitter(joints, header.skeleton),
        missing=missing_share(joints, header.skeleton),
        subsets=subsets,
    )


class _Lifter:
    """The relation graph over what was seen of one person, again and again with other cameras."""

    def __init__(self, model: Model, rig: Rig, person: Sequence[TrackedPerson]) -> None:
        self.model = model
        self._origins = np.stack([camera.center for camera in rig])
        self._directions = np.stack([p.directions for p in person])  # (T, V, K, 3)
        self._scores = np.stack([p.keypoints[..., 2] for p in person])
        self._tokens = np.stack([p.tokens for p in person])  # (T, V, D)
        self._seen = np.stack([p.seen for p in person])  # (T, V)

    def __call__(self, views: Sequence[int]) -> Array:
        """Joints `(T, J, 3)` as the cameras `views` alone give them, each instant as in a clip: the model's look-ahead
        before the end of its window.
        """
        window, ahead = self.model.bundle.window, self.model.bundle.look_ahead
        mask = np.zeros_like(self._seen)
        mask[:, views] = self._seen[:, views]
        count = len(mask)
        # (T, window): each instant with those around it; beyond the clip there are none, and their views are masked
        index = np.arange(count)[:, None] + np.arange(window) - (window - 1 - ahead)
        parts = []
        for start in range(0, count, _CHUNK):
            rows = index[start : start + _CHUNK]
            inside = rows.clip(0, count - 1)
            origins = np.broadcast_to(self._origins, (*rows.shape, *self._origins.shape))
            masked = mask[inside] & (rows == inside)[..., None]
            joints, _, _ = self.model.relate(
                origins, self._directions[inside], self._scores[inside], masked, self._tokens[inside]
            )
            parts.append(joints[:, window - 1 - ahead])
        return np.concatenate(parts)
