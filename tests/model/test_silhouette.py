"""Which pixels show a person, and what is left of a crop without the others."""

from __future__ import annotations

import numpy as np
from tests.server.painted import STANDING, circle_rig

from synpose_model.crop import MARGIN, Crop
from synpose_model.silhouette import near, paint_over, silhouette

CAMERA = circle_rig(1).cameras[0]


def test_a_silhouette_covers_the_body_and_little_else() -> None:
    """All joints lie in it, and it is about as large as a person is."""
    points = CAMERA.project(STANDING)
    crop = Crop.around(points, 128, MARGIN)
    mask = silhouette(crop, CAMERA, STANDING)
    at = (points - crop.transform[:, 2]) @ np.linalg.inv(crop.transform[:, :2]).T
    x, y = np.rint(at).astype(int).T
    assert mask[y, x].all()
    assert 0.1 < mask.mean() < 0.35
    assert not silhouette(crop, CAMERA, 2 * CAMERA.center - STANDING).any()  # behind the camera


def test_what_is_painted_over_is_gone() -> None:
    """Its pixels get the mean of the others, which stay; with nothing to cover or nothing left the crop stays."""
    pixels = np.full((8, 8, 3), 40, np.uint8)
    mask = np.zeros((8, 8), np.bool_)
    mask[2:4, 2:4] = True
    pixels[mask] = 200
    assert (paint_over(pixels, mask) == 40).all()
    assert paint_over(pixels, ~mask)[mask].min() == 200
    for nothing in (np.zeros_like(mask), np.ones_like(mask)):
        assert (paint_over(pixels, nothing) == pixels).all()


def test_points_near_a_mask() -> None:
    """In it or a few pixels off; outside the picture, and of NaN, none is."""
    mask = np.zeros((64, 64), np.bool_)
    mask[20:30, 40:50] = True
    points = np.array(((45, 25), (52.9, 25), (53, 25), (36.9, 17.2), (36.9, 16.9), (70, 25), (np.nan, 25), (-1, 0)))
    assert near(points, mask, 3).tolist() == [True, True, False, False, False, False, False, False]
    assert near(points + (0.2, 0), mask, 3).tolist() == [True, False, False, True, False, False, False, False]
