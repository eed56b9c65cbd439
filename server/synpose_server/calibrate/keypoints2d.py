"""2D keypoints of one person in each view, without a calibration: crops follow the pose that each image gave before.

The person is the one who is largest in the first images that show anybody; who is lost is looked for again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from synpose.skeleton import COCO17
from synpose_model.crop import Crop
from synpose_model.image import Image
from synpose_server.runtime import Model, shrunk

__all__ = ["Follower", "follow"]

Array = NDArray[np.float64]

_FOUND = len(COCO17)  # joints that crops surround: the first of every skeleton
_SHOULDERS, _HIPS = [5, 6], [11, 12]  # COCO's
_FOUND_SCORE = 0.2  # of the detector, from which there is someone
_SURE = 0.15  # keypoint score from which a crop has to hold it
_MARGIN = 1.35  # width of a crop over the extent of the person's keypoints
_STEADY = 0.6  # share of a new pose in the pose that crops follow
_SEARCH_EVERY = 5  # images between searches for a lost person


class Follower:
    """Follows one person through the images of one camera; makes the crops, and takes what was read from them."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._pose: Array | None = None  # (17, 2) that crops surround, while someone is followed
        self._extent: float | None = None  # of whom was followed last, in pixels
        self._wait = 0  # images until the next search

    def crop(self, image: Image | None) -> Crop | None:
        """Where the person is expected in `image`; None where nobody is."""
        if image is None:
            return None
        if self._pose is None:
            self._search(image)
        if self._pose is None:
            return None
        up = self._pose[_SHOULDERS].mean(0) - self._pose[_HIPS].mean(0)
        return Crop.around(self._pose, self._model.bundle.crop_size, _MARGIN, up)

    def take(self, keypoints: Array) -> bool:
        """Follow `keypoints` `(K, 3)`, in image pixels; False where they show nobody, who is then lost."""
        scores = keypoints[:_FOUND, 2]
        shown = np.sort(keypoints[:, 2])[len(keypoints) // 2 :].mean() >= self._model.bundle.least_score
        sure = scores >= _SURE
        if self._pose is None or not shown or sure.sum() < 5:
            self._pose, self._wait = None, 0
            return False
        moved = np.where(sure[:, None], keypoints[:_FOUND, :2] - self._pose, 0.0)
        moved[~sure] = np.median(moved[sure], axis=0)  # what is not seen goes with the rest
        self._pose = self._pose + np.where(sure, _STEADY, 1.0)[:, None] * moved
        self._extent = _extent(self._pose)
        return True

    def _search(self, image: Image) -> None:
        """Start with the largest person, or with the one as large as whoever was lost."""
        if self._wait:
            self._wait -= 1
            return
        self._wait = _SEARCH_EVERY
        transform, pixels = shrunk(image)
        ((people, boxes),) = self._model.detect([pixels])
        found = [p[:, :2] @ transform[:, :2].T + transform[:, 2] for p in people[boxes[:, 4] > _FOUND_SCORE]]
        if self._extent is None:
            self._pose = max(found, key=_extent, default=None)
        else:
            last = np.log(self._extent)
            self._pose = min(found, key=lambda pose: abs(np.log(_extent(pose)) - last), default=None)


def follow(model: Model, frame_sets: Iterator[Sequence[Image | None]]) -> Iterator[Array]:
    """For each frame set the keypoints `(V, K, 3)` of the person: x, y in pixels and score, zeros where unseen."""
    followers: list[Follower] = []
    for images in frame_sets:
        followers = followers or [Follower(model) for _ in images]
        crops = [follower.crop(image) for follower, image in zip(followers, images, strict=True)]
        found = np.zeros((len(images), len(model.keypoint_skeleton), 3))
        views = [view for view, crop in enumerate(crops) if crop is not None]
        if views:
            pixels = [crop.read(image) for crop, image in zip(crops, images, strict=True) if crop and image]
            for view, keypoints in zip(views, model.read(np.stack(pixels)).keypoints, strict=True):
                crop = crops[view]
                assert crop is not None, view
                placed = crop.to_image(keypoints)
                if followers[view].take(placed):
                    found[view] = placed
        yield found


def _extent(pose: Array) -> float:
    """The larger side of the box around `pose` `(17, 2)`, in pixels."""
    return float(np.ptp(pose, axis=0).max())
