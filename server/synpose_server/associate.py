"""Which detections of different cameras are one person: decided by geometry alone.

Two detections belong together when their rays meet: when the joints triangulated from both project back onto both,
measured against the person's size in the image. No length enters, so a calibration in the wrong unit still finds its
people and can be told by their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from synpose.rig import Rig
from synpose_model.rays import intersect_rays

__all__ = ["Candidate", "Detection", "associate"]

Array = NDArray[np.float64]

_SURE = 0.2  # keypoint score from which MoveNet's position is worth comparing
_FEW = 5  # joints that two views must share before their agreement means anything
_AGREE = 0.08  # reprojection error, as a share of the person's extent, below which two views show one person


@dataclass(frozen=True, eq=False)
class Detection:
    """A person in one image: `keypoints` `(K, 3)` in image pixels with scores, `directions` `(K, 3)` their rays."""

    view: int
    keypoints: Array
    directions: Array
    score: float

    @property
    def extent(self) -> float:
        """The larger side of the box around the sure keypoints, in pixels."""
        sure = self.keypoints[self.keypoints[:, 2] > _SURE, :2]
        return float(np.ptp(sure, axis=0).max()) if len(sure) > 1 else 0.0


@dataclass(frozen=True, eq=False)
class Candidate:
    """One person in several views: rough `joints` `(K, 3)` in the world frame, NaN where unknown."""

    detections: tuple[Detection, ...]
    joints: Array
    error: float


def associate(rig: Rig, detections: Sequence[Detection]) -> list[Candidate]:
    """Group detections into people, each detection in at most one; most views first, then best agreement.

    Greedy: the pair of views that agrees best starts a person, other views join if the person seen by all still
    projects onto each. At least two views make a person.
    """
    pairs = []
    for a, b in combinations(detections, 2):
        if a.view != b.view:
            candidate = _candidate(rig, (a, b))
            if candidate.error < _AGREE:
                pairs.append(candidate)
    people = [_grow(rig, pair, detections) for pair in sorted(pairs, key=lambda pair: pair.error)]
    people.sort(key=lambda person: (-sum(d.score for d in person.detections), person.error))
    chosen: list[Candidate] = []
    used: set[int] = set()
    for person in people:
        if not used & {id(d) for d in person.detections}:
            chosen.append(person)
            used |= {id(d) for d in person.detections}
    return chosen


def _grow(rig: Rig, person: Candidate, detections: Sequence[Detection]) -> Candidate:
    """Add to `person`, from each view that it lacks, the detection that agrees best, if it does agree."""
    while True:
        views = {d.view for d in person.detections}
        wider = [_candidate(rig, (*person.detections, d)) for d in detections if d.view not in views]
        best = min(wider, key=lambda candidate: candidate.error, default=None)
        if best is None or best.error >= _AGREE:
            return person
        person = best


def _candidate(rig: Rig, detections: tuple[Detection, ...]) -> Candidate:
    """Triangulate `detections` and measure how well they agree: the worst view's median error over its extent."""
    origins = np.stack([rig.cameras[d.view].center for d in detections])
    scores = np.stack([d.keypoints[:, 2] for d in detections], -1)  # (K, V)
    weights = np.where(scores > _SURE, scores**2, 0.0)
    joints = intersect_rays(origins, np.stack([d.directions for d in detections], -2), weights)
    worst = 0.0
    for d, sure in zip(detections, (weights > 0).T, strict=True):
        off = np.linalg.norm(rig.cameras[d.view].project(joints) - d.keypoints[:, :2], axis=-1)
        off = off[sure & np.isfinite(joints).all(-1)]
        if len(off) < _FEW or d.extent == 0:
            return Candidate(detections, joints, np.inf)
        # a joint behind a camera has no projection: it counts as wrong, not as absent
        worst = max(worst, float(np.median(np.where(np.isnan(off), np.inf, off))) / d.extent)
    return Candidate(detections, joints, worst)
