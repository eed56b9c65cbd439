"""A world whose pixels say where they are, and a pose network that reads them: exact answers without weights.

Every image is painted with its own coordinates (red: x, green: y, blue: the camera), so that a fake spatial graph
knows, from a crop alone, which camera it came from and how it was cut, and can answer with the exact projections of the
people it was told about. Nothing else of the road is faked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from synpose.rig import Camera, Rig
from synpose.skeleton import COCO17, Skeleton
from synpose_model.image import Image
from synpose_model.rays import intersect_rays
from synpose_server.job import Job
from synpose_server.lanes import Lanes
from synpose_server.runtime import Detected, Readings

Array = NDArray[np.float64]

SIZE = (640, 480)
STANDING: Array = np.array(
    [
        (0.10, 0, 1.62), (0.08, 0.03, 1.66), (0.08, -0.03, 1.66), (0, 0.08, 1.64), (0, -0.08, 1.64),
        (0, 0.18, 1.42), (0, -0.18, 1.42), (0.02, 0.24, 1.13), (0.02, -0.24, 1.13),
        (0.10, 0.26, 0.88), (0.10, -0.26, 0.88),
        (0, 0.12, 0.92), (0, -0.12, 0.92), (0.03, 0.13, 0.50), (0.03, -0.13, 0.50), (0, 0.14, 0.09), (0, -0.14, 0.09),
    ]
)  # fmt: skip
"""A person in COCO's joints, metres, z up, feet at the origin."""


def circle_rig(cameras: int = 4, radius: float = 4.0, scale: float = 1.0) -> Rig:
    """`cameras` on a circle, looking at the middle; `scale` is a wrong unit of the lengths."""
    out = []
    for k in range(cameras):
        angle = 2 * np.pi * k / (cameras + 0.5)
        centre = np.array((radius * np.cos(angle), radius * np.sin(angle), 1.6 + 0.3 * (k % 2)))
        forward = np.array((0, 0, 1.0)) - centre
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, (0, 0, 1.0))
        right /= np.linalg.norm(right)
        R = np.stack((right, np.cross(forward, right), forward))
        K = np.array(((520.0, 0, 320), (0, 520.0, 240), (0, 0, 1)))
        out.append(Camera(f"cam{k + 1}", SIZE, K, R, -R @ centre * scale))
    return Rig(tuple(out))


def painted(view: int) -> Image:
    """The image of camera `view`: its pixels are their own coordinates."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    blue = np.full(x.shape, 20 * (view + 1))
    return Image((np.stack((1 + 250 * x / SIZE[0], 1 + 250 * y / SIZE[1], blue), -1).round().astype(np.uint8),))


def bundle(**fields: object) -> SimpleNamespace:
    """What is read of a bundle without learning, some `fields` changed or added."""
    usual = {
        "crop_size": 128,
        "window": 1,
        "look_ahead": 0,
        "min_views": 2,
        "least_score": 0.2,
        "restores_sides": False,
    }
    return SimpleNamespace(**{**usual, **fields})


def only(keypoints: Array) -> Readings:
    """What a network without tokens says that sees each joint in one place, `(N, K, 3)`."""
    return Readings(keypoints, np.zeros((len(keypoints), 0)), np.zeros_like(keypoints))


@dataclass
class PaintedModel:
    """Stands for `synpose_server.runtime.Model`; `people` `(N, 17, 3)` is the truth of the moment, in true metres.

    `alter` may change the keypoints `(17, 3)` of a view before they are answered, `crops` counts the crops read.
    """

    rig: Rig
    people: Sequence[Array] = ()
    alter: Callable[[int, Array], Array] = lambda view, keypoints: keypoints
    crops: list[tuple[int, ...]] = field(default_factory=list)
    searches: int = 0
    skeleton: Skeleton = COCO17
    keypoint_skeleton: Skeleton = COCO17
    bundle: SimpleNamespace = field(default_factory=lambda: bundle(name="painted"))
    expects: bool = False
    lanes: Lanes = field(default_factory=lambda: Lanes(2))

    def bound(self, job: Job) -> Self:
        return self

    def read(self, crops: NDArray[np.uint8], expected: NDArray[np.float64] | None = None) -> Readings:
        answers = []
        views = []
        for crop in crops:
            lit = crop[..., 2] > 0
            view = int(np.median(crop[..., 2][lit])) // 20 - 1 if lit.any() else -1
            views.append(view)
            if view < 0 or not len(self.people):
                answers.append(np.column_stack((np.zeros((17, 2)), np.full(17, 0.02))))
                continue
            lit &= ~one_colour(crop)
            # the affine map from image pixels to crop pixels, fitted over all lit pixels
            rows, columns = np.nonzero(lit)
            where = np.column_stack(((crop[lit][:, :2] - 1.0) / 250 * SIZE, np.ones(len(rows))))
            to_crop, *_ = np.linalg.lstsq(where, np.column_stack((columns, rows)).astype(float), rcond=None)
            best = min(
                (np.column_stack((self.rig.cameras[view].project(p), np.ones(17))) @ to_crop for p in self.people),
                key=lambda points: float(np.abs(points.mean(0) - crop.shape[0] / 2).max()),
            )
            answers.append(self._with_scores(view, best))
        self.crops.append(tuple(views))
        return only(np.stack(answers))

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detected]:
        self.searches += len(images)
        return [self._detected(image) for image in images]

    def _detected(self, image: NDArray[np.uint8]) -> Detected:
        view = int(image[8, 8, 2]) // 20 - 1
        if view < 0:
            return Detected(np.zeros((0, 17, 3)), np.zeros((0, 5)))
        scale = SIZE[0] / 512
        people = [
            self._with_scores(view, (self.rig.cameras[view].project(p) - (scale - 1) / 2) / scale) for p in self.people
        ]
        boxes = [np.array((*p[:, :2].min(0), *p[:, :2].max(0), 0.9)) for p in people]
        return Detected(np.array(people).reshape(-1, 17, 3), np.array(boxes).reshape(-1, 5))

    def relate(
        self,
        origins: Array,
        directions: Array,
        scores: Array,
        view_mask: NDArray[np.bool_],
        tokens: Array | None = None,
    ) -> tuple[Array, Array, Array]:
        weights = scores * view_mask[..., None]
        joints = intersect_rays(origins[..., None, :, :], np.moveaxis(directions, -3, -2), np.moveaxis(weights, -2, -1))
        return joints, np.where(np.isnan(joints[..., 0]), np.nan, 0.01), weights

    def _with_scores(self, view: int, points: Array) -> Array:
        return self.alter(view, np.column_stack((points, np.full(17, 0.8))))


def one_colour(crop: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The pixels of the commonest colour that is not black: where somebody was painted over, it is all theirs."""
    codes = crop @ np.array((1 << 16, 1 << 8, 1))
    colours, counts = np.unique(codes[codes > 0], return_counts=True)
    return np.asarray(codes == colours[counts.argmax()])
