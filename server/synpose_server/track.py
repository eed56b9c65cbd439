"""Following people from frame set to frame set: find them, crop them where they will be, lift them, check them.

A person who is followed is cropped in each image at the re-projection of the last 3D pose, so that image passes the
spatial graph once and nobody else gets into it. The detector looks for people only while there are too few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from synpose.errors import CalibrationError
from synpose.rig import Rig
from synpose_model.rays import ray_distances
from synpose_server.associate import Detection, associate
from synpose_server.crop import Crop, letterbox
from synpose_server.image import Image
from synpose_server.runtime import Model
from synpose_server.sides import Sides

__all__ = ["TrackedPerson", "Tracker"]

Array = NDArray[np.float64]

_DETECTOR_SIDE = 512  # long side of the image that the detector sees: people down to about 60 px in it
_SEARCH_EVERY = 10  # frame sets between searches for further people while someone is followed
_MARGIN = 1.3  # width of a crop over the extent of the person's joints
_ALPHA, _BETA = 0.6, 0.15  # gains for position and velocity
_IN_VIEW = 0.3  # least share of a crop that must lie inside the image
_SEEN = 0.2  # mean score of the best half of the keypoints from which a view counts as showing the person
_OUTLIER = 0.15  # metres from the joint at which a view's median ray is about someone or something else
_FORGET = 90  # frame sets after which someone who comes back is someone new
_NEAR, _SPEED = 0.6, 0.05  # metres, and metres a frame set, within which a lost person is looked for
_HEIGHTS = (0.4, 2.5)  # metres: what a person can be tall
_PATIENCE = 10  # impossible people in a row before the calibration is blamed


@dataclass(frozen=True, eq=False)
class TrackedPerson:
    """One person of one frame set.

    `joints` `(J, 3)` world, metres, `sigma` `(J,)`, `view_weights` `(V, K)`, `keypoints` `(V, K, 3)` in image pixels,
    `directions` `(V, K, 3)` their unit rays in the world frame, `seen` `(V,)` the views that were used.
    """

    id: int
    joints: Array
    sigma: Array
    view_weights: Array
    keypoints: Array
    directions: Array
    seen: NDArray[np.bool_]

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
    history: list[tuple[Array, Array, NDArray[np.bool_]]] = field(default_factory=list)

    @property
    def predicted(self) -> Array:
        return self.joints + self.velocity

    def follow(self, joints: Array) -> None:
        """Take in the next pose `(J, 3)`; unknown joints go on as they went."""
        predicted = self.predicted
        surprise = np.where(np.isfinite(joints), joints - predicted, 0.0)
        self.joints = predicted + _ALPHA * surprise
        self.velocity = self.velocity + _BETA * surprise

    def restart(self, joints: Array) -> None:
        """Go on from `joints` `(J, 3)` after the person was out of sight."""
        self.joints, self.velocity, self.unseen = joints, np.zeros_like(joints), 0
        self.history.clear()


class Tracker:
    """Follows up to `max_people` people through the frame sets of one clip; not thread-safe."""

    def __init__(self, model: Model, rig: Rig, max_people: int) -> None:
        self.model, self.rig, self.max_people = model, rig, max_people
        self._origins = np.stack([camera.center for camera in rig])
        self._tracks: list[_Track] = []
        self._next_id = 0
        self._since_search = _SEARCH_EVERY
        self._searches = 0
        self._lost: list[_Track] = []
        self._impossible: dict[int, float] = {}  # height of a person of impossible size, by search
        self._plausible = False

    def step(self, images: Sequence[Image | None]) -> list[TrackedPerson]:
        """The people of the next frame set; raises `CalibrationError` when their size shows a wrong unit."""
        self._since_search += 1
        if len(self._tracks) < self.max_people and (not self._tracks or self._since_search >= _SEARCH_EVERY):
            self._search(images)
            self._since_search = 0
        people = self._observe(images)
        seen = {person.id for person in people}
        for track in self._lost:
            track.unseen += 1
        self._lost = [track for track in self._lost if track.unseen < _FORGET]
        self._lost += [track for track in self._tracks if track.id not in seen]
        self._tracks = [track for track in self._tracks if track.id in seen]
        return people

    # -- finding people ------------------------------------------------------------------------------------------

    def _search(self, images: Sequence[Image | None]) -> None:
        """Start tracks for the people that the detector finds and nobody follows yet."""
        self._searches += 1
        detections = [d for view, image in enumerate(images) if image is not None for d in self._detect(view, image)]
        detections = [d for d in detections if not any(self._follows(track, d) for track in self._tracks)]
        for candidate in associate(self.rig, detections):
            if len(self._tracks) == self.max_people:
                return
            joints = _filled(candidate.joints)
            height = _height(joints, self.model.skeleton.joints)
            if _HEIGHTS[0] <= height <= _HEIGHTS[1]:
                self._plausible = True
                self._tracks.append(self._returned(joints) or self._new(joints))
            elif not self._plausible:
                self._impossible[self._searches] = height
        if len(self._impossible) >= _PATIENCE:
            self.check_scale()

    def _new(self, joints: Array) -> _Track:
        """A track for someone who was never seen before."""
        self._next_id += 1
        return _Track(self._next_id - 1, joints, np.zeros_like(joints), Sides(self.model.skeleton))

    def _returned(self, joints: Array) -> _Track | None:
        """The lost track that `joints` take up again, if one was near enough: it goes on under its id."""
        near = [(float(np.median(np.linalg.norm(track.joints - joints, axis=-1))), track) for track in self._lost]
        distance, track = min(near, key=lambda pair: pair[0], default=(np.inf, None))
        if track is None or distance > _NEAR + _SPEED * track.unseen:
            return None
        self._lost.remove(track)
        track.restart(joints)
        return track

    def _detect(self, view: int, image: Image) -> list[Detection]:
        transform, side = letterbox(image.size, _DETECTOR_SIDE)
        people, boxes = self.model.detect(image.crop(transform, side))
        found = []
        for keypoints, box in zip(people, boxes, strict=True):
            keypoints = keypoints.copy()
            keypoints[:, :2] = keypoints[:, :2] @ transform[:, :2].T + transform[:, 2]
            if box[4] > _SEEN:
                rays = self.rig.cameras[view].rays(keypoints[:, :2])
                found.append(Detection(view, keypoints, rays, float(box[4])))
        return found

    def _follows(self, track: _Track, detection: Detection) -> bool:
        """Whether a detection is the person of `track`, by the overlap with the predicted pose."""
        expected = self.rig.cameras[detection.view].project(track.predicted)
        if not np.isfinite(expected).all():
            return False
        off = np.linalg.norm(expected - detection.keypoints[:, :2], axis=-1)
        return bool(np.median(off) < 0.3 * np.ptp(expected, axis=0).max())

    def check_scale(self) -> None:
        """Raise `CalibrationError` if most searches found someone, and never anyone of the size of a person.

        To be called at the end of a clip, too: a short one may be over before patience is.
        """
        if not self._plausible and 2 * len(self._impossible) > self._searches:
            height = np.median(list(self._impossible.values()))
            raise CalibrationError(
                f"the person would be {height:.3g} m tall; the lengths of the calibration are probably in another "
                "unit: pass units (m, cm or mm)",
                field="options.units",
            )

    # -- following people ----------------------------------------------------------------------------------------

    def _observe(self, images: Sequence[Image | None]) -> list[TrackedPerson]:
        """Crop, read, lift and check every track; tracks that cannot be seen are left out."""
        crops, places = [], []
        for row, track in enumerate(self._tracks):
            for view, image in enumerate(images):
                crop = self._crop(track, view, image)
                if crop is not None and image is not None:
                    crops.append((crop, crop.read(image)))
                    places.append((row, view))
        if not crops:
            return []
        K, V = len(self.model.skeleton), len(self.rig)
        keypoints = np.zeros((len(self._tracks), V, K, 3))
        directions = np.zeros((len(self._tracks), V, K, 3))
        read = self.model.keypoints(np.stack([pixels for _, pixels in crops]))
        for (row, view), (crop, _), found in zip(places, crops, read, strict=True):
            keypoints[row, view] = crop.to_image(found)
            directions[row, view] = self.rig.cameras[view].rays(keypoints[row, view, :, :2])
        beyond = ~np.isfinite(directions).all(-1)  # where the lens model has no inverse there is no ray
        keypoints[beyond, 2] = 0.0
        directions[beyond] = 0.0
        for row, track in enumerate(self._tracks):
            keypoints[row], directions[row] = track.sides.restore(
                self._origins, directions[row], keypoints[row], track.predicted
            )
        return self._lift(keypoints, directions)

    def _crop(self, track: _Track, view: int, image: Image | None) -> Crop | None:
        if image is None:
            return None
        points = self.rig.cameras[view].project(track.predicted)
        if not np.isfinite(points).all():
            return None
        crop = Crop.around(points, self.model.bundle.crop_size, _MARGIN, self._up(points))
        return crop if crop.overlap(image.size) >= _IN_VIEW else None

    def _up(self, points: Array) -> Array:
        """From the hips to the shoulders, in the image."""
        names = self.model.skeleton.joints
        middle = [
            points[[names.index(f"left_{part}"), names.index(f"right_{part}")]].mean(0) for part in ("shoulder", "hip")
        ]
        up: Array = middle[0] - middle[1]
        return up

    def _lift(self, keypoints: Array, directions: Array) -> list[TrackedPerson]:
        """Relate the rays of each person's last frame sets; answers the newest."""
        best_half = np.sort(keypoints[..., 2], -1)[..., keypoints.shape[-2] // 2 :]
        seen = best_half.mean(-1) >= _SEEN  # (N, V)
        people = []
        for row, track in enumerate(self._tracks):
            person = self._relate(track, keypoints[row], directions[row], seen[row])
            while person is not None and person.seen.sum() > 2 and (astray := self._astray(person)) is not None:
                agreeing = person.seen.copy()
                agreeing[astray] = False
                person = self._relate(track, keypoints[row], directions[row], agreeing)
            if person is not None and self._holds(track, person):
                track.history.append((directions[row], keypoints[row, :, :, 2], person.seen))
                del track.history[: -self.model.bundle.window]  # no more than a window is ever read
                track.follow(person.joints)
                people.append(person)
        return people

    def _relate(
        self, track: _Track, keypoints: Array, directions: Array, seen: NDArray[np.bool_]
    ) -> TrackedPerson | None:
        """The person from the rays of the views `seen`, with the frame sets before; None from fewer than two views."""
        if seen.sum() < 2:
            return None
        window = [*track.history, (directions, keypoints[..., 2], seen)][-self.model.bundle.window :]
        rays, scores, mask = (np.stack(part)[None] for part in zip(*window, strict=True))
        origins = np.broadcast_to(self._origins, (*rays.shape[:3], 3))
        joints, sigma, weights = (out[0, -1] for out in self.model.relate(origins, rays, scores, mask))
        return TrackedPerson(track.id, joints, sigma, weights, keypoints, directions, seen)

    def _astray(self, person: TrackedPerson) -> int | None:
        """The view that shows someone or something else, if any: its median sure ray passes far from its joint.

        The farthest one only: it may be what keeps the joints away from the others.
        """
        distances = ray_distances(self._origins, np.moveaxis(person.directions, 0, 1), person.joints)  # (K, V)
        sure = (person.keypoints[..., 2].T > _SEEN) & np.isfinite(distances) & person.seen
        medians = np.array(
            [np.median(own[use]) if use.any() else 0.0 for own, use in zip(distances.T, sure.T, strict=True)]
        )
        worst = int(np.argmax(medians))
        return worst if medians[worst] > _OUTLIER else None

    def _holds(self, track: _Track, person: TrackedPerson) -> bool:
        """Whether the lifted pose is still the person who was followed."""
        if np.isfinite(person.joints).all(-1).mean() < 0.5:
            return False
        moved = np.linalg.norm(person.joints - track.predicted, axis=-1)
        return bool(np.nanmedian(moved) < 0.5)


def _filled(joints: Array) -> Array:
    """`joints` `(K, 3)` with NaN replaced by the mean of the others: good enough to place a crop."""
    return np.where(np.isfinite(joints), joints, np.nanmean(joints, axis=0))


def _height(joints: Array, names: Sequence[str]) -> float:
    """About how tall the person of `joints` is in metres: a torso is 0.29, a thigh and a shank 0.245 of the stature."""
    at = dict(zip(names, joints, strict=True))
    torso = np.linalg.norm(
        at["left_shoulder"] + at["right_shoulder"] - at["left_hip"] - at["right_hip"]
    ) / 2  # fmt: skip
    legs = [
        np.linalg.norm(at[f"{side}_{a}"] - at[f"{side}_{b}"])
        for side in ("left", "right")
        for a, b in (("hip", "knee"), ("knee", "ankle"))
    ]
    return float(np.median([torso / 0.29, *(leg / 0.245 for leg in legs)]))
