"""Left and right are restored where a view has exchanged them, and only there."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.server.painted import STANDING, circle_rig

from synpose.skeleton import COCO17
from synpose_server.sides import Sides

Array = NDArray[np.float64]
RIG = circle_rig(4)
ORIGINS = np.stack([camera.center for camera in RIG])
MIRROR = [{**dict(COCO17.pairs), **{r: left for left, r in COCO17.pairs}}.get(j, j) for j in range(17)]
ARMS, LEGS = [5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 15, 16]


def seen(joints: Array, views: int = 4) -> tuple[Array, Array, Array]:
    """Camera centres, exact rays and keypoints of `joints` in the first `views` cameras."""
    keypoints = np.stack([np.column_stack((c.project(joints), np.full(17, 0.8))) for c in RIG])[:views]
    directions = np.stack([c.rays(k[:, :2]) for c, k in zip(RIG, keypoints, strict=False)])
    return ORIGINS[:views], directions, keypoints


def exchange(part: list[int], *arrays: Array) -> None:
    for array in arrays:
        array[part] = array[[MIRROR[j] for j in part]]


@pytest.mark.parametrize("part", [ARMS, LEGS, ARMS + LEGS])
@pytest.mark.parametrize("view", range(4))
def test_an_exchanged_view_is_restored(view: int, part: list[int]) -> None:
    """Arms, legs or both exchanged in one view come back as they were, rays and keypoints alike."""
    origins, directions, keypoints = seen(STANDING)
    wrong_directions, wrong_keypoints = directions.copy(), keypoints.copy()
    exchange(part, wrong_directions[view], wrong_keypoints[view])
    expected = STANDING + 0.01
    k, d = Sides(COCO17).restore(origins, wrong_directions, wrong_keypoints, expected)
    assert np.array_equal(k, keypoints)
    assert np.array_equal(d, directions)


def test_right_views_are_left_alone() -> None:
    """Views that fit the expectation are returned as they are, also when the person moved by 10 cm."""
    origins, directions, keypoints = seen(STANDING)
    k, d = Sides(COCO17).restore(origins, directions, keypoints, STANDING + 0.1)
    assert k is keypoints
    assert d is directions


def test_a_wrong_expectation_is_given_up() -> None:
    """Views that all disagree with the expectation are overruled for some frame sets at most, then believed."""
    origins, directions, keypoints = seen(STANDING)
    sides = Sides(COCO17)
    answers = [sides.restore(origins, directions, keypoints, STANDING[MIRROR])[0] for _ in range(12)]
    believed = [np.array_equal(answer, keypoints) for answer in answers]
    assert not believed[0]
    assert believed[-1]


def test_views_that_agree_are_not_torn_apart() -> None:
    """One view is not exchanged to please the expectation when its rays then miss those of the others."""
    origins, directions, keypoints = seen(STANDING)
    expected = STANDING.copy()
    exchange(LEGS, expected)
    sides = Sides(COCO17)
    for _ in range(12):
        k, _ = sides.restore(origins, directions, keypoints, expected)
    assert np.array_equal(k, keypoints)


def test_unseen_views_do_not_vote() -> None:
    """Scores of zero carry no opinion and no NaN."""
    origins, directions, keypoints = seen(STANDING)
    keypoints[1:, :, 2] = 0
    k, d = Sides(COCO17).restore(origins, directions, keypoints, STANDING[MIRROR])
    assert np.isfinite(k).all()
    assert np.isfinite(d).all()
