"""People side by side: whose keypoints are whose, which tracks are one, and what a crop shows of whom."""

from __future__ import annotations

import numpy as np
import pytest
from tests.server.painted import STANDING, circle_rig

from synpose.skeleton import COCO17
from synpose_server.apart import strangers, twins

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
