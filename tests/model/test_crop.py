"""Crops hold their person, upright and whole."""

from __future__ import annotations

import numpy as np
import pytest

from synpose_model.crop import Crop, letterbox

POINTS = np.random.default_rng(0).uniform((300, 200), (420, 500), (17, 2))


@pytest.mark.parametrize("angle", [-2.5, -0.7, 0.0, 0.4, 3.1])
def test_points_lie_inside_with_a_margin_and_up_is_up(angle: float) -> None:
    """Every point is inside, the longer extent fills 1/margin of the side, and `up` points to the crop's top."""
    up = np.array((np.sin(angle), -np.cos(angle)))
    crop = Crop.around(POINTS, 256, 1.25, up)
    inverse = np.linalg.inv(crop.transform[:, :2])
    inside = (POINTS - crop.transform[:, 2]) @ inverse.T
    assert inside.min() > 0
    assert inside.max() < 255
    assert np.ptp(inside, axis=0).max() == pytest.approx(256 / 1.25)
    assert np.allclose(inverse @ up / np.linalg.norm(inverse @ up), (0, -1))


def test_keypoints_go_back_to_the_image() -> None:
    """`to_image` inverts the crop and keeps the scores."""
    crop = Crop.around(POINTS, 192, 1.4, np.array((0.3, -1.0)))
    inside = (POINTS - crop.transform[:, 2]) @ np.linalg.inv(crop.transform[:, :2]).T
    back = crop.to_image(np.column_stack((inside, np.full(17, 0.7))))
    assert np.allclose(back[:, :2], POINTS)
    assert (back[:, 2] == 0.7).all()


def test_overlap_tells_how_much_is_in_the_image() -> None:
    """A crop in the middle overlaps wholly, one on the edge by half, one outside not at all."""
    centred = Crop.around(POINTS, 256, 1.0)
    assert centred.overlap((1000, 1000)) == 1.0
    assert Crop.around(POINTS - POINTS.mean(0) + (0, 500), 256, 1.0).overlap((1000, 1000)) == pytest.approx(
        0.5, abs=0.1
    )
    assert Crop.around(POINTS - 5000, 256, 1.0).overlap((1000, 1000)) == 0.0


@pytest.mark.parametrize("size", [(1080, 1920), (640, 480), (300, 300)])
def test_letterbox_holds_the_whole_image(size: tuple[int, int]) -> None:
    """Every pixel of the image lies in the letterbox, whose sides are multiples of 32."""
    transform, (width, height) = letterbox(size, 512)
    assert width % 32 == 0
    assert height % 32 == 0
    last = (np.array(size) - 1 - transform[:, 2]) / np.diag(transform[:, :2])
    assert (last < (width, height)).all()
    assert max(last) > 500
