"""Of two places that a network sees for a joint the one is taken that a followed person makes likelier."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.server.painted import STANDING, circle_rig

from synpose_model.crop import MARGIN, Crop
from synpose_server.peaks import fitting

Array = NDArray[np.float64]
CAMERA = circle_rig(3).cameras[0]
CROP = Crop.around(CAMERA.project(STANDING), 256, MARGIN)
WRIST = 9


def in_crop(joints: Array, score: float) -> Array:
    """Keypoints `(17, 3)` of `joints` in the crop, to the hundredth of a pixel."""
    corners = CROP.to_image(np.array([[0.0, 0, 1], [1, 0, 1], [0, 1, 1]]))[:, :2]
    shares = np.linalg.solve((corners[1:] - corners[0]).T, (CAMERA.project(joints) - corners[0]).T).T
    return np.column_stack((shares, np.full(len(joints), score)))


@pytest.mark.parametrize(
    ("score", "other", "off", "chosen"),
    [
        (0.5, 0.4, 0.3, True),
        (0.5, 0.2, 0.3, True),
        (0.5, 0.1, 0.3, False),  # too unlikely, however near
        (0.5, 0.4, 0.02, False),  # both fit
        (0.5, 0.0, 9.0, False),
        (0.0, 0.0, 0.3, False),
    ],
)
def test_a_wrist_that_is_seen_twice(score: float, other: float, off: float, chosen: bool) -> None:
    """The network's first place is `off` metres from where the wrist is, its second is right."""
    read, told = in_crop(STANDING, score), in_crop(STANDING, 0.0)
    read[WRIST, :2] = in_crop(STANDING + off * CAMERA.R[0], score)[WRIST, :2]  # to the right of the image
    told[WRIST, 2] = other
    found = fitting(read, told, CROP, CAMERA, STANDING + 0.01)
    assert found[WRIST] == pytest.approx(told[WRIST] if chosen else read[WRIST])
    others = np.arange(17) != WRIST
    assert np.array_equal(found[others], read[others])


def test_an_expectation_that_is_far_off_tells_nothing() -> None:
    """Where neither place is near, the likelier one stays."""
    read, told = in_crop(STANDING, 0.5), in_crop(STANDING, 0.4)
    told[:, 0] += 30
    away = STANDING + 2 * CAMERA.R[0]
    assert np.array_equal(fitting(read, told, CROP, CAMERA, away), read)
    assert np.array_equal(fitting(read, told, CROP, CAMERA, np.full_like(STANDING, np.nan)), read)
