"""Which detections of different cameras are one person: decided by geometry alone.

Two detections belong together when their rays meet: when the joints triangulated from both project back onto both,
measured against the person's size in the image. No length enters, so a calibration in the wrong unit still finds its
people and can be told by their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from synpose.rig import Rig
from synpose.skeleton import COCO17
from synpose_model.rays import intersect_rays

__all__ = ["Candidate", "Detection", "associate", "place", "stature"]

Array = NDArray[np.float64]

_SURE = 0.2  # keypoint score from which MoveNet's position is worth comparing
_FEW = 5  # joints that two views must share before their agreement means anything
_STARTS = 32  # people that a frame set may start with, right or wrong
_AGREE = 0.08  # reprojection error, as a share of the person's extent, below which two views show one person
_LARGE = 0.5  # of the image's longer side: the extent from which a person counts in full
_STATURE = 1.7  # metres: of a person whom only one camera sees
_AT = {name: j for j, name in enumerate(COCO17.joints)}


@dataclass(frozen=True, eq=False)
class Detection:
    """A person in one image: COCO's `keypoints` `(17, 3)` in pixels with scores, their rays `directions` `(17, 3)`."""

    view: int
    keypoints: Array
    directions: Array
    score: float

    @cached_property
    def extent(self) -> float:
        """The larger side of the box around the sure keypoints, in pixels."""
        sure = self.keypoints[self.keypoints[:, 2] > _SURE, :2]
        return float(np.ptp(sure, axis=0).max()) if len(sure) > 1 else 0.0


@dataclass(frozen=True, eq=False)
class Candidate:
    """One person in one or more views: rough `joints` `(17, 3)`, COCO's, in the world frame, NaN where unknown."""

    detections: tuple[Detection, ...]
    joints: Array
    error: float


def associate(rig: Rig, detections: Sequence[Detection]) -> list[Candidate]:
    """Group detections into people, each detection in at most one; the most prominent first (`_prominence`).

    Greedy: a pair of views that agrees starts a person, the best pairs first, and other views join as long as the
    person seen by all projects onto each. At least two views make a person. The work grows with the square of the
    number of detections, not faster: pairs that a grown person holds already start no other.
    """
    pairs = [(a, b) for a, b in combinations(detections, 2) if a.view != b.view]
    people: list[Candidate] = []
    for pair in sorted(_candidates(rig, pairs), key=lambda pair: pair.error):
        if pair.error >= _AGREE or len(people) == _STARTS:
            break
        if not any(_shares(person, pair) == 2 for person in people):
            people.append(_grow(rig, pair, detections))
    people.sort(key=lambda person: (-sum(d.score for d in person.detections), person.error))
    chosen: list[Candidate] = []
    for person in people:
        if not any(_shares(other, person) for other in chosen):
            chosen.append(person)
    return sorted(chosen, key=lambda person: (-sum(_prominence(rig, d) for d in person.detections), person.error))


def place(rig: Rig, detections: Sequence[Detection]) -> list[Candidate]:
    """Each detection as a person of usual height who is nowhere nearer to its camera than elsewhere; the most prominent
    first.

    What one camera alone can tell: directions are right, the distance is as good as the height.
    """
    people = []
    for detection in sorted(detections, key=lambda d: -_prominence(rig, d)):
        rays = np.where(detection.keypoints[:, 2:] > _SURE, detection.directions, np.nan)
        if np.isfinite(rays).all(-1).sum() < _FEW:
            continue
        towards = np.nanmean(rays, axis=0)
        towards /= np.linalg.norm(towards)
        flat = detection.directions / (detection.directions @ towards)[:, None]  # on a plane one metre away
        if (height := stature(flat)) > 0:
            joints = rig.cameras[detection.view].center + _STATURE / height * flat
            people.append(Candidate((detection,), joints, 0.0))
    return people


def stature(joints: Array) -> float:
    """About how tall the person of COCO's `joints` `(17, 3)` is, in their unit.

    A torso is 0.29, a thigh and a shank 0.245 of the stature.
    """
    middles = [joints[[_AT[f"left_{part}"], _AT[f"right_{part}"]]].sum(0) for part in ("shoulder", "hip")]
    torso = np.linalg.norm(middles[0] - middles[1]) / 2
    legs = [
        np.linalg.norm(joints[_AT[f"{side}_{a}"]] - joints[_AT[f"{side}_{b}"]])
        for side in ("left", "right")
        for a, b in (("hip", "knee"), ("knee", "ankle"))
    ]
    return float(np.median([torso / 0.29, *(leg / 0.245 for leg in legs)]))


def _prominence(rig: Rig, detection: Detection) -> float:
    """How much a detection speaks for its person being the one who is meant: its score, the half for small ones.

    Whoever many views show is ahead of the one whom few show, and of equally many the one whom the cameras were set up
    for, who is larger than those who pass behind.
    """
    share = detection.extent / max(rig.cameras[detection.view].size)
    return detection.score * min(1.0, 0.5 + share / _LARGE / 2)


def _shares(a: Candidate, b: Candidate) -> int:
    """How many detections two candidates have in common."""
    return len({id(d) for d in a.detections} & {id(d) for d in b.detections})


def _grow(rig: Rig, person: Candidate, detections: Sequence[Detection]) -> Candidate:
    """Add to `person`, from each view that it lacks, the detection that agrees best, if it does agree."""
    while True:
        views = {d.view for d in person.detections}
        wider = _candidates(rig, [(*person.detections, d) for d in detections if d.view not in views])
        best = min(wider, key=lambda candidate: candidate.error, default=None)
        if best is None or best.error >= _AGREE:
            return person
        person = best


def _candidates(rig: Rig, groups: Sequence[tuple[Detection, ...]]) -> list[Candidate]:
    """Triangulate groups of equally many detections; a group's error is its worst view's median over its extent."""
    if not groups:
        return []
    centers = np.stack([camera.center for camera in rig])
    views = np.array([[d.view for d in group] for group in groups])  # (G, N)
    keypoints = np.array([[d.keypoints for d in group] for group in groups])  # (G, N, K, 3)
    directions = np.array([[d.directions for d in group] for group in groups])
    extents = np.array([[d.extent for d in group] for group in groups])  # (G, N)
    scores = keypoints[..., 2]
    sure = scores > _SURE  # (G, N, K)
    weights = np.where(sure, scores**2, 0.0)
    joints: Array = intersect_rays(centers[views][:, None], np.moveaxis(directions, 1, 2), np.moveaxis(weights, 1, 2))
    known = sure & np.isfinite(joints[..., 0])[:, None]
    errors = np.full(views.shape, np.inf)
    for view in np.unique(views):
        rows, slots = np.nonzero((views == view) & (known.sum(-1) >= _FEW) & (extents > 0))
        if not len(rows):
            continue
        off = np.linalg.norm(rig.cameras[view].project(joints[rows]) - keypoints[rows, slots, :, :2], axis=-1)
        off = np.where(np.isnan(off), np.inf, off)  # a joint behind a camera counts as wrong, not as absent
        errors[rows, slots] = np.nanmedian(np.where(known[rows, slots], off, np.nan), axis=-1) / extents[rows, slots]
    return [Candidate(g, j, float(e)) for g, j, e in zip(groups, joints, errors.max(-1), strict=True)]
