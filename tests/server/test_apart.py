"""People side by side: whose keypoints are whose, which tracks are one, and what a crop shows of whom."""

from __future__ import annotations

import numpy as np
import pytest
from tests.server.painted import STANDING, circle_rig

from synpose.skeleton import COCO17
from synpose_model.crop import MARGIN, Crop
from synpose_server.apart import strangers, twins
from synpose_server.silhouette import paint_over, silhouette

CAMERA = circle_rig(1).cameras[0]
EXPECTED = np.stack([CAMERA.project(STANDING + (0, y, 0)) for y in (0.0, 0.6)])[:, None]  # (2, 1, 17, 2)
WRIST, OTHER_WRIST = COCO17.joints.index("left_wrist"), COCO17.joints.index("right_wrist")


def test_keypoints_where_they_are_expected_are_believed() -> None:
    """Nothing is taken from two people who are read near their places."""
    assert not strangers(EXPECTED + 3.0, EXPECTED, COCO17.mirror).any()


@pytest.mark.parametrize("theirs", [WRIST, OTHER_WRIST])
def test_one_keypoint_of_someone_else_is_told(theirs: int) -> None:
    """A wrist read at the other person's wrist, of either side, is theirs; all the rest stays."""
    read = EXPECTED.copy()
    read[0, 0, WRIST] = EXPECTED[1, 0, theirs]
    told = strangers(read, EXPECTED, COCO17.mirror)
    assert told[0, 0, WRIST]
    assert told.sum() == 1


def test_a_keypoint_far_from_everyone_is_kept() -> None:
    """Surprise alone makes no stranger: people move."""
    read = EXPECTED.copy()
    read[0, 0, WRIST] -= (200.0, 100.0)
    assert not strangers(read, EXPECTED, COCO17.mirror).any()


def test_people_out_of_view_claim_nothing() -> None:
    """Where a camera cannot see where someone is, nobody's keypoints are theirs."""
    unseen = EXPECTED.copy()
    unseen[1] = np.nan
    read = EXPECTED.copy()
    read[0] = EXPECTED[1]
    assert not strangers(read, unseen, COCO17.mirror).any()


def test_twins_are_two_in_one_place() -> None:
    """The later of two people within 20 cm is the twin of the earlier one."""
    together = twins(np.stack([STANDING, STANDING + (2, 0, 0), STANDING + (0.1, 0, 0)]))
    assert np.argwhere(together).tolist() == [[0, 2]]


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
