"""Following people from frame set to frame set: find them, crop them where they will be, lift them, check them.

A person who is followed is cropped in each image at the re-projection of the last 3D pose, so that image passes the
spatial graph once and nobody else gets into it. The detector looks for people only while there are too few. What is
read of several people is kept apart (see `apart`), and all of them are lifted in one batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synpose.errors import CalibrationError
from synpose.rig import Rig
from synpose.skeleton import COCO17, Skeleton
from synpose_model.crop import IN_VIEW, MARGIN, Crop
from synpose_model.image import Image
from synpose_model.rays import intersect_rays, ray_distances
from synpose_model.silhouette import near, paint_over, silhouette
from synpose_server.apart import strangers, twins
from synpose_server.assignment import nearest_pairs
from synpose_server.associate import Detection, associate, place, stature
from synpose_server.observe import count
from synpose_server.peaks import fitting
from synpose_server.runtime import Model, shrunk
from synpose_server.sides import Sides

__all__ = ["TrackedPerson", "Tracker"]

Array = NDArray[np.float64]

_FOUND = len(COCO17)  # joints that the detector finds and crops surround: the first of every skeleton
_SHOULDERS, _HIPS = (
    [COCO17.joints.index(f"{side}_{part}") for side in ("left", "right")] for part in ("shoulder", "hip")
)
_HEAD = 0.45  # of the trunk's length, above the shoulders
# limb by limb: the near joint, the far one, and how far below, in lengths of the trunk
_HANGING = [
    (COCO17.joints.index(f"{side}_{near}"), COCO17.joints.index(f"{side}_{far}"), share)
    for side in ("left", "right")
    for near, far, share in (
        ("shoulder", "elbow", 0.6), ("elbow", "wrist", 0.5), ("hip", "knee", 0.85), ("knee", "ankle", 0.85),
    )
]  # fmt: skip
_SEARCH_EVERY = 10  # frame sets between searches for further people while someone is followed
_EAGER = 30  # frame sets for which someone who was lost is searched for more often,
_SEARCH_EAGERLY = 2  # every so many frame sets
_ALPHA, _BETA = 0.6, 0.15  # gains for position and velocity
_FOUND_SCORE = 0.2  # of the detector, from which there is someone
_BLANK = 4.0  # of 255: the standard deviation of a colour below which a crop shows nothing; with people it is above 20
_OUTLIER = 0.15  # metres from the joint at which a view's median ray is about someone or something else
_FORGET = 90  # frame sets after which someone who comes back is someone new
_NEAR, _SPEED = 0.6, 0.05  # metres, and metres a frame set, within which a lost person is looked for
_COAST = 10  # frame sets for which a lost person is thought to go on as before
_SIZE = 0.15  # the share by which a stature may differ: as unlikely of one person as the farthest place
_STRANGE = 0.2  # of its score is left to a keypoint that seems to be someone else's: some are the own, after all
_NEAR_OTHERS = 9 / 256  # of a crop's side: as near to where others are expected nothing is told
_MERGED = 4  # frame sets after which two tracks in one place are one person
_TAKEN = 0.3  # metres around someone who is followed in which nobody new is found
_HEIGHTS = (0.4, 2.5)  # metres: what a person can be tall
_SETTLED, _MANY = 8, 4  # poses after which the next is told to a network, where there are so many cameras or more
_TELLS, _FEWEST = 0.1, 5  # score from which a keypoint tells, and how many must, where a lone camera sees someone
_NEAREST = 0.3  # metres from a camera at which nobody's joint is nearer
_PATIENCE = 10  # impossible people in a row before the calibration is blamed
_HEIGHTS_KEPT = 100  # of impossible people, to say how tall they are


@dataclass(eq=False)
class TrackedPerson:
    """One person of one frame set; the first three are refined while frame sets within the model's look-ahead follow.

    `joints` `(J, 3)` world, metres, `sigma` `(J,)`, `view_weights` `(V, J)`, `keypoints` `(V, K, 3)` in image pixels,
    `directions` `(V, K, 3)` their unit rays in the world frame, `tokens` `(V, D)`, `seen` `(V,)` the views that were
    used; `as_read` `(V, K, 3)` the keypoints as the network said them, before others were chosen and sides restored.
    """

    id: int
    joints: Array
    sigma: Array
    view_weights: Array
    keypoints: Array
    directions: Array
    tokens: Array
    seen: NDArray[np.bool_]
    as_read: Array

    @property
    def score(self) -> float:
        """Mean keypoint score over the views that were used."""
        return float(self.keypoints[self.seen, :, 2].mean())


@dataclass(eq=False)
class _Track:
    """Where a person was: steadied `joints` `(J, 3)` without gaps and their `velocity` per frame set.

    An alpha-beta filter: the crops must not shake with the noise of every pose, or they add their own to the next.
    """

    id: int
    joints: Array
    velocity: Array
    sides: Sides
    unseen: int = 0  # frame sets since the person was lost
    merged: int = 0  # frame sets in a row in the same place as someone who was there before
    statures: list[float] = field(default_factory=list)  # as the poses show them, while they are seen
    history: list[TrackedPerson] = field(default_factory=list)  # of the frame sets just before, the newest last
    latest: Array = field(init=False)  # the last pose as it was lifted, `(J, 3)`, NaN where it is not known,
    ahead: Array = field(init=False)  # and where it gets by one more step like the last

    def __post_init__(self) -> None:
        self.latest = self.ahead = np.full_like(self.joints, np.nan)

    @property
    def predicted(self) -> Array:
        """Where the person will be, steadily: for crops, which must not shake."""
        return self.joints + self.velocity

    @property
    def expected(self) -> Array:
        """Where the person will be, to tell them from others: what moves quickly is not left behind.

        On a rendered scene of two people 55 mm from where they were, `predicted` 69 mm.
        """
        return np.where(np.isfinite(self.ahead), self.ahead, self.predicted)

    @property
    def coasted(self) -> Array:
        """Where someone who was lost has got to by now."""
        return self.joints + min(self.unseen, _COAST) * self.velocity

    def likeness(self, joints: Array) -> float:
        """How unlike this person someone is who turns up with `joints` `(J, 3)`; infinite: someone else."""
        distance = float(np.median(np.linalg.norm(self.coasted - joints, axis=-1)))
        farthest = _NEAR + _SPEED * self.unseen
        if distance > farthest:
            return np.inf
        grown = abs(float(np.log(stature(joints[:_FOUND]) / np.median(self.statures)))) if self.statures else 0.0
        return distance / farthest + grown / _SIZE

    def follow(self, joints: Array) -> None:
        """Take in the next pose `(J, 3)`; unknown joints go on as they went."""
        self.ahead, self.latest = 2 * joints - self.latest, joints
        predicted = self.predicted
        surprise = np.where(np.isfinite(joints), joints - predicted, 0.0)
        self.joints = predicted + _ALPHA * surprise
        self.velocity = self.velocity + _BETA * surprise
        if np.isfinite(size := stature(joints[:_FOUND])):
            self.statures = [*self.statures[1 - _FORGET :], size]

    def restart(self, joints: Array) -> None:
        """Go on from `joints` `(J, 3)` after the person was out of sight."""
        self.joints, self.velocity, self.unseen, self.merged = joints, np.zeros_like(joints), 0, 0
        self.latest = self.ahead = np.full_like(joints, np.nan)
        self.history.clear()


class _Cut(NamedTuple):
    """A crop and its pixels; if someone else was painted over, `others` `(S, S)` is where such people are expected."""

    crop: Crop
    pixels: NDArray[np.uint8]
    others: NDArray[np.bool_] | None


@dataclass(eq=False)
class _Sighting:
    """What the views show of `track` in the newest frame set, after its `window` of those before."""

    track: _Track
    window: Sequence[TrackedPerson]
    keypoints: Array
    directions: Array
    tokens: Array
    seen: NDArray[np.bool_]
    as_read: Array

    def given(self) -> list[NDArray[Any]]:
        """Rays `(T, V, K, 3)`, scores, the views to be used and tokens over the window and the newest frame set."""
        rows = [(p.directions, p.keypoints[..., 2], p.seen, p.tokens) for p in self.window]
        rows.append((self.directions, self.keypoints[..., 2], self.seen, self.tokens))
        return [np.stack(part) for part in zip(*rows, strict=True)]

    def person(self, joints: Array, sigma: Array, view_weights: Array) -> TrackedPerson:
        """The person as they are in the newest frame set."""
        return TrackedPerson(
            self.track.id, joints, sigma, view_weights, self.keypoints, self.directions, self.tokens, self.seen,
            self.as_read,
        )  # fmt: skip


class Tracker:
    """Follows up to `max_people` people through the frame sets of one clip; not thread-safe."""

    def __init__(self, model: Model, rig: Rig, max_people: int, told: bool = True) -> None:
        self.model, self.rig, self.max_people = model, rig, max_people
        self._tells = told and model.expects
        self._origins = np.stack([camera.center for camera in rig])
        self._tracks: list[_Track] = []
        self._next_id = 0
        self._since_search = _SEARCH_EVERY
        self._searches = 0
        self._lost: list[_Track] = []
        self._impossible = 0  # searches that found someone of impossible size,
        self._heights: deque[float] = deque(maxlen=_HEIGHTS_KEPT)  # and how tall, of the last ones
        self._plausible = False
        self._completing = _completing(model.skeleton)

    def step(self, images: Sequence[Image | None]) -> list[TrackedPerson]:
        """The people of the next frame set; raises `CalibrationError` when their size shows a wrong unit.

        The people of the frame sets before, within the model's look-ahead, are refined where they are.
        """
        for view, image in enumerate(images):
            if image is None:
                count("missing_views", camera=view)
        self._since_search += 1
        if len(self._tracks) < self.max_people and self._since_search >= self._patience():
            self._search(images)
            self._since_search = 0
        people = self._one_each(self._observe(images))
        seen = {person.id for person in people}
        for track in self._lost:
            track.unseen += 1
        self._lost = [track for track in self._lost if track.unseen < _FORGET]
        self._lost += [track for track in self._tracks if track.id not in seen]
        self._tracks = [track for track in self._tracks if track.id in seen]
        return people

    def _one_each(self, people: list[TrackedPerson]) -> list[TrackedPerson]:
        """`people` without those whose track has slid onto someone who was followed in that place before them."""
        if len(people) < 2:
            return people
        tracks = {track.id: track for track in self._tracks}
        together = twins(np.stack([tracks[person.id].joints for person in people]))
        for column, person in enumerate(people):
            tracks[person.id].merged = tracks[person.id].merged + 1 if together[:, column].any() else 0
        return [person for person in people if tracks[person.id].merged < _MERGED]

    # -- finding people ------------------------------------------------------------------------------------------

    def _patience(self) -> int:
        """How many frame sets pass between searches: with nobody there to follow each is searched."""
        if not self._tracks:
            return 1
        return _SEARCH_EAGERLY if any(track.unseen < _EAGER for track in self._lost) else _SEARCH_EVERY

    def _search(self, images: Sequence[Image | None]) -> None:
        """Start tracks for the people that the detector finds and nobody follows yet."""
        self._searches += 1
        detections = self._detect(images)
        detections = [d for d in detections if not any(self._follows(track, d) for track in self._tracks)]
        alone = len(self.rig) == 1  # with more cameras one view is not enough to believe in someone new
        found = []
        impossible = None
        for candidate in (place if alone else associate)(self.rig, detections):
            joints = _filled(candidate.joints)
            height = stature(joints)
            if _HEIGHTS[0] <= height <= _HEIGHTS[1]:
                self._plausible = True
                found.append(self._completing @ joints)
            elif not self._plausible:
                impossible = height
        if impossible is not None:
            self._impossible += 1
            self._heights.append(impossible)
        found = [joints for joints in found if not any(self._taken(track, joints) for track in self._tracks)]
        known = self._returned(found)
        # those who return come before anyone new
        for row in sorted(range(len(found)), key=lambda row: row not in known)[: self.max_people - len(self._tracks)]:
            self._tracks.append(self._resumed(known[row], found[row]) if row in known else self._new(found[row]))
        if self._impossible >= _PATIENCE:
            self.check_scale()

    def _new(self, joints: Array) -> _Track:
        """A track for someone who was never seen before."""
        self._next_id += 1
        return _Track(self._next_id - 1, joints, np.zeros_like(joints), Sides(self.model.keypoint_skeleton))

    def _returned(self, found: Sequence[Array]) -> dict[int, _Track]:
        """Which of those `found`, by their place in the list, are which lost people: the likeliest first."""
        if not found or not self._lost:
            return {}
        costs = np.array([[track.likeness(joints) for track in self._lost] for joints in found])
        return {row: self._lost[column] for row, column in nearest_pairs(costs)}

    def _resumed(self, track: _Track, joints: Array) -> _Track:
        """A lost track that goes on from `joints` under its id."""
        self._lost.remove(track)
        track.restart(joints)
        return track

    def _taken(self, track: _Track, joints: Array) -> bool:
        """Whether the person of `track` stands where `joints` are."""
        return bool(np.median(np.linalg.norm(track.predicted - joints, axis=-1)) < _TAKEN)

    def _detect(self, images: Sequence[Image | None]) -> list[Detection]:
        """Who is in the images, by view."""
        shown = [(view, image) for view, image in enumerate(images) if image is not None]
        small = self.model.lanes.each(shrunk, [image for _, image in shown])
        found = []
        detected = self.model.detect([pixels for _, pixels in small])
        for (view, _), (transform, _), (people, boxes) in zip(shown, small, detected, strict=True):
            for keypoints, box in zip(people, boxes, strict=True):
                if box[4] > _FOUND_SCORE:
                    points = keypoints[:, :2] @ transform[:, :2].T + transform[:, 2]
                    placed = np.column_stack((points, keypoints[:, 2:]))
                    found.append(Detection(view, placed, self.rig.cameras[view].rays(points), float(box[4])))
        return found

    def _follows(self, track: _Track, detection: Detection) -> bool:
        """Whether a detection is the person of `track`, by the overlap with the predicted pose."""
        expected = self.rig.cameras[detection.view].project(track.predicted[:_FOUND])
        if not np.isfinite(expected).all():
            return False
        off = np.linalg.norm(expected - detection.keypoints[:, :2], axis=-1)
        return bool(np.median(off) < 0.3 * np.ptp(expected, axis=0).max())

    def check_scale(self) -> None:
        """Raise `CalibrationError` if most searches found someone, and never anyone of the size of a person.

        To be called at the end of a clip, too: a short one may be over before patience is.
        """
        if not self._plausible and 2 * self._impossible > self._searches:
            height = np.median(self._heights)
            raise CalibrationError(
                f"the person would be {height:.3g} m tall; the lengths of the calibration are probably in another "
                "unit: pass units (m, cm or mm)",
                field="options.units",
            )

    # -- following people ----------------------------------------------------------------------------------------

    def _observe(self, images: Sequence[Image | None]) -> list[TrackedPerson]:
        """Crop, read, lift and check every track; tracks that cannot be seen are left out."""
        asked = [
            (row, view, image)
            for row in range(len(self._tracks)) for view, image in enumerate(images) if image is not None
        ]  # fmt: skip
        crops, places, told = [], [], []
        for (row, view, _), cut in zip(asked, self.model.lanes.each(self._cut, asked), strict=True):
            if cut is None:
                continue
            crops.append(cut)
            places.append((row, view))
            if self._tells:
                told.append(self._told(self._tracks[row], view, cut))
        if not crops:
            return []
        read = self.model.read(np.stack([cut.pixels for cut in crops]), np.stack(told) if told else None)
        N, V, K = len(self._tracks), len(self.rig), read.keypoints.shape[1]
        as_read, keypoints, directions = (np.zeros((N, V, K, 3)) for _ in range(3))
        tokens = np.zeros((N, V, read.tokens.shape[1]))
        for (row, view), (crop, *_), found, token, other in zip(places, crops, *read, strict=True):
            camera, expected = self.rig.cameras[view], self._tracks[row].expected[:K]
            as_read[row, view] = crop.to_image(found)
            keypoints[row, view] = crop.to_image(fitting(found, other, crop, camera, expected))
            tokens[row, view] = token
            directions[row, view] = camera.rays(keypoints[row, view, :, :2])
        beyond = ~np.isfinite(directions).all(-1)  # where the lens model has no inverse there is no ray
        keypoints[beyond, 2] = 0.0
        directions[beyond] = 0.0
        as_read[..., 2] = np.where(beyond, 0.0, as_read[..., 2])
        if N > 1:
            keypoints[self._strangers(keypoints), 2] *= _STRANGE
        sightings = []
        for row, track in enumerate(self._tracks):
            restored, rays = keypoints[row], directions[row]
            if not self.model.bundle.restores_sides:
                restored, rays = track.sides.restore(self._origins, rays, restored, track.predicted[:K])
            sightings.append(self._sighting(track, restored, rays, tokens[row], as_read[row]))
        return self._lift(sightings)

    def _cut(self, asked: tuple[int, int, Image]) -> _Cut | None:
        """What the image of a view shows of a track, None where that is nothing."""
        row, view, image = asked
        track = self._tracks[row]
        crop = self._crop(track, view, image)
        if crop is None or _is_blank(pixels := crop.read(image)):
            return None
        return _Cut(crop, *self._alone(track, view, crop, pixels))

    def _alone(
        self, track: _Track, view: int, crop: Crop, pixels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """The `pixels` of `crop` without the others who are followed, except where the person of `track` may be.

        With them where the others are, if anything of them is painted over.
        """
        camera = self.rig.cameras[view]
        others = [silhouette(crop, camera, other.expected[:_FOUND]) for other in self._tracks if other is not track]
        if not any(mask.any() for mask in others):
            return pixels, None
        own, theirs = silhouette(crop, camera, track.expected[:_FOUND]), np.any(others, axis=0)
        alone = paint_over(pixels, theirs & ~own)
        return alone, None if alone is pixels else theirs

    def _told(self, track: _Track, view: int, cut: _Cut) -> Array:
        """Where in a crop the joints of `track` are to be seen, `(J, 2)`; NaN of someone who was only just found.

        First poses are the worst, and a network that is told of them repeats them. Where many cameras see the person
        they correct each other sooner when nothing is told; with few of them it is the other way round. NaN, too, near
        others who are painted over: the gap in the paint shows the same, and what is told twice is believed where it
        is wrong.
        """
        settled = min(_SETTLED, self.model.bundle.window - 1)
        if len(self.rig) >= _MANY and len(track.history) < settled:
            return np.full_like(track.ahead[:, :2], np.nan)
        told = cut.crop.from_image(self.rig.cameras[view].project(track.ahead))
        if cut.others is not None:
            told[near(told, cut.others, round(_NEAR_OTHERS * cut.crop.side))] = np.nan
        return told

    def _strangers(self, keypoints: Array) -> NDArray[np.bool_]:
        """Which of the `keypoints` `(N, V, K, 3)` of which track are someone else's, `(N, V, K)`."""
        expected = np.stack(
            [
                np.stack([camera.project(track.expected[: keypoints.shape[2]]) for camera in self.rig])
                for track in self._tracks
            ]
        )
        return strangers(keypoints[..., :2], expected, self.model.keypoint_skeleton.mirror)

    def _crop(self, track: _Track, view: int, image: Image) -> Crop | None:
        points = self.rig.cameras[view].project(track.predicted[:_FOUND])
        if not np.isfinite(points).all():
            return None
        crop = Crop.around(points, self.model.bundle.crop_size, MARGIN, _up(points))
        return crop if crop.overlap(image.size) >= IN_VIEW else None

    def _sighting(self, track: _Track, keypoints: Array, directions: Array, tokens: Array, as_read: Array) -> _Sighting:
        best_half = np.sort(keypoints[..., 2], -1)[..., keypoints.shape[-2] // 2 :]
        seen = best_half.mean(-1) >= self.model.bundle.least_score  # (V,)
        window = track.history[max(0, len(track.history) + 1 - self.model.bundle.window) :]
        return _Sighting(track, window, keypoints, directions, tokens, seen, as_read)

    def _lift(self, sightings: Sequence[_Sighting]) -> list[TrackedPerson]:
        """The people of the newest frame set, without those who cannot be seen; refines those just before.

        Views that show someone else are left out one by one.
        """
        lifted: dict[int, tuple[TrackedPerson, Array, Array, Array]] = {}
        waiting = sightings
        while waiting := [s for s in waiting if s.seen.sum() >= self.model.bundle.min_views]:
            again = []
            for sighting, joints, sigma, weights in self._relate(waiting):
                person = sighting.person(joints[-1], sigma[-1], weights[-1])
                if sighting.seen.sum() > 2 and (astray := self._astray(person)) is not None:
                    sighting.seen = sighting.seen.copy()
                    sighting.seen[astray] = False
                    again.append(sighting)
                elif self._holds(sighting.track, person):
                    lifted[person.id] = person, joints, sigma, weights
            waiting = again
        people = []
        for sighting in sightings:
            if sighting.track.id not in lifted:
                continue
            person, joints, sigma, weights = lifted[sighting.track.id]
            window = sighting.window
            for t in range(max(0, len(window) - self.model.bundle.look_ahead), len(window)):
                window[t].joints, window[t].sigma, window[t].view_weights = joints[t], sigma[t], weights[t]
            sighting.track.history = [*window, person]
            sighting.track.follow(person.joints)
            people.append(person)
        return people

    def _relate(self, sightings: Sequence[_Sighting]) -> Iterator[tuple[_Sighting, Array, Array, Array]]:
        """Joints `(T, J, 3)`, sigma and view weights of each window and then the newest frame set.

        All windows of one length are one batch.
        """
        lengths = sorted({len(sighting.window) for sighting in sightings})
        for batch in ([s for s in sightings if len(s.window) == length] for length in lengths):
            rays, scores, mask, tokens = (
                np.stack(part) for part in zip(*(sighting.given() for sighting in batch), strict=True)
            )
            origins = np.broadcast_to(self._origins, (*rays.shape[:3], 3))
            joints, sigma, weights = self.model.relate(origins, rays, scores, mask, tokens)
            alone = mask.sum(-1) == 1
            alone[:, : -1 - self.model.bundle.look_ahead] = False  # these were answered before
            for row, t in np.argwhere(alone):
                view = int(np.argmax(mask[row, t]))
                told = rays[row, t, view], scores[row, t, view]
                joints[row, t] = _in_sight(joints[row, t], self._origins[view], *told)
            yield from zip(batch, joints, sigma, weights, strict=True)

    def _astray(self, person: TrackedPerson) -> int | None:
        """The view that shows someone or something else, if any: its median sure ray passes far from its joint.

        The farthest one only: it may be what keeps the joints away from the others.
        """
        distances = ray_distances(
            self._origins, np.moveaxis(person.directions, 0, 1), person.joints[: person.directions.shape[1]]
        )  # (K, V)
        sure = person.keypoints[..., 2].T - self.model.bundle.least_score > 0
        sure &= np.isfinite(distances) & person.seen
        medians = np.array(
            [np.median(own[use]) if use.any() else 0.0 for own, use in zip(distances.T, sure.T, strict=True)]
        )
        worst = int(np.argmax(medians))
        return worst if medians[worst] > _OUTLIER else None

    def _holds(self, track: _Track, person: TrackedPerson) -> bool:
        """Whether the lifted pose is still the person who was followed."""
        if np.isfinite(person.joints).all(-1).mean() < 0.5:
            return False
        expected = track.predicted
        if person.seen.sum() == 1:  # how far away one camera sees someone is a guess: only across the view is told
            (origin,) = self._origins[person.seen]
            near, far = (np.linalg.norm(np.nanmean(joints, axis=0) - origin) for joints in (person.joints, expected))
            expected = origin + (expected - origin) * near / far
        moved = np.linalg.norm(person.joints - expected, axis=-1)
        return bool(np.nanmedian(moved) < 0.5)


def _in_sight(joints: Array, eye: Array, directions: Array, scores: Array) -> Array:
    """`joints` `(J, 3)` moved to where the rays `(K, 3)` of the only camera, at `eye` `(3,)`, meet them best.

    A network that must guess how far away someone is may say a distance that does not go with the size of the pose. The
    crops that follow such a pose show ever less of the person, and the next guess is farther off.
    """
    offset = joints[: len(directions)] - eye
    distance = np.linalg.norm(offset, axis=-1)
    sure = (scores > _TELLS) & np.isfinite(distance) & (distance > 0)
    weights = np.where(sure, scores / np.where(sure, distance, 1.0) ** 2, 0.0)
    shift = intersect_rays(-np.nan_to_num(offset), directions, weights)  # these lines meet in what moves joints to rays
    ahead = ((offset + shift) * directions).sum(-1)[sure]
    return joints + shift if len(ahead) >= _FEWEST and (ahead > _NEAREST).all() else joints


def _is_blank(pixels: NDArray[np.uint8]) -> bool:
    """Whether a crop is of one colour, as where a camera fails: networks see people in that, too."""
    return bool(pixels[::8, ::8].reshape(-1, 3).std(0).max() < _BLANK)


def _filled(joints: Array) -> Array:
    """COCO's `joints` `(17, 3)` with NaN replaced: good enough to place a crop that misses no limb.

    What is unknown hangs down the trunk, as on someone who stands; without a trunk it lies in the mean of the others.
    """
    shoulders, hips = (_middle(joints[pair]) for pair in (_SHOULDERS, _HIPS))
    down = hips - shoulders
    joints = joints.copy()
    if np.isfinite(down).all():
        joints[:5] = np.where(np.isfinite(joints[:5]), joints[:5], shoulders - _HEAD * down)
        for place, pair in ((shoulders, _SHOULDERS), (hips, _HIPS)):
            joints[pair] = np.where(np.isfinite(joints[pair]), joints[pair], place)
        for near, far, share in _HANGING:
            joints[far] = np.where(np.isfinite(joints[far]), joints[far], joints[near] + share * down)
    return np.where(np.isfinite(joints), joints, np.nanmean(joints, axis=0))


def _middle(pair: Array) -> Array:
    """Of the two `(2, 3)`, or the one that is known; NaN if none is."""
    known = np.isfinite(pair).all(-1)
    return pair[known].mean(0) if known.any() else np.full(3, np.nan)


def _completing(skeleton: Skeleton) -> Array:
    """Weights `(J, 17)` that place the joints of `skeleton` by COCO's.

    One that cannot be read from them starts where its parent is.
    """
    weights = skeleton.reads_from(COCO17)
    rows = []
    for joint in range(len(skeleton)):
        while not weights[joint].any() and skeleton.parents[joint] >= 0:
            joint = skeleton.parents[joint]
        rows.append(weights[joint])
    return np.stack(rows)


def _up(points: Array) -> Array:
    """From the hips to the shoulders, in the image."""
    up: Array = points[_SHOULDERS].mean(0) - points[_HIPS].mean(0)
    return up
