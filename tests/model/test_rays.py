"""Intersecting rays: closed-form answers on rays that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from synpose_model.rays import intersect_rays, ray_distances

Array = NDArray[np.float64]

X, Y, Z = np.eye(3)


def intersect(origins: ArrayLike, directions: ArrayLike, weights: ArrayLike) -> Array:
    return intersect_rays(*(np.asarray(value, dtype=np.float64) for value in (origins, directions, weights)))


def test_rays_that_meet_give_their_point() -> None:
    """Rays of three cameras through one point give that point, whatever their weights."""
    point = np.array((0.3, -0.2, 1.1))
    origins = np.array(((4, 0, 1), (0, 4, 2), (-3, -3, 1.5)))
    directions = (point - origins) / np.linalg.norm(point - origins, axis=-1, keepdims=True)
    assert intersect(origins, directions, (1, 0.2, 3)) == pytest.approx(point, abs=1e-12)


def test_skew_rays_meet_in_the_middle_and_weights_pull() -> None:
    """Rays along x at z = 0 and along y at z = 1 are nearest half-way; weights 1 and 3 share the metre as 3 to 1."""
    origins, directions = (-2 * X, -2 * Y + Z), (X, Y)
    assert intersect(origins, directions, (1, 1)) == pytest.approx((0, 0, 0.5))
    assert intersect(origins, directions, (1, 3)) == pytest.approx((0, 0, 0.75))


def test_a_ray_without_weight_does_not_count() -> None:
    """A ray of weight 0 changes nothing, and does not make two of one."""
    origins, directions = (-2 * X, -2 * Y, 9 * X + 9 * Y), (X, Y, Z)
    assert intersect(origins, directions, (1, 1, 0)) == pytest.approx((0, 0, 0))
    assert np.isnan(intersect(origins, directions, (1, 0, 0))).all()


def test_a_ray_that_is_nan_does_not_count() -> None:
    """A ray without an inverse of its lens is left out, though it has a weight and only one number is NaN."""
    lost = np.array((0.0, np.nan, 1.0))
    assert intersect((-2 * X, -2 * Y, Z), (X, Y, lost), (1, 1, 1)) == pytest.approx((0, 0, 0))
    assert np.isnan(intersect((-2 * X, Z), (X, lost), (1, 1))).all()


@pytest.mark.parametrize("second", [X, -X], ids=["same", "opposite"])
def test_parallel_rays_have_no_point(second: Array) -> None:
    """Where the common direction is free there is no answer, not a far one; a third ray settles it."""
    origins = (-2 * X, -2 * X + Y, -2 * Y)
    assert np.isnan(intersect(origins[:2], (X, second), (1, 1))).all()
    assert intersect(origins, (X, second, Y), (1, 1, 1)) == pytest.approx((0, 0.5, 0))


def test_parallel_is_judged_by_angle_not_by_weight() -> None:
    """Weak rays that cross are as known as strong ones; strong rays that do not are not."""
    assert intersect((-2 * X, -2 * Y), (X, Y), (1e-6, 1e-6)) == pytest.approx((0, 0, 0))
    grazing = np.array((1.0, 1e-3, 0)) / np.hypot(1, 1e-3)
    assert np.isnan(intersect((-2 * X, -2 * X + Y), (X, grazing), (1e6, 1e6))).all()


def test_joints_are_answered_one_by_one() -> None:
    """Leading dimensions are a batch: an unknown joint leaves its neighbours known, origins are shared."""
    points = np.array(((0, 0, 1), (0.5, 0, 1), (0, 0.5, 1.5)))
    origins = np.array(((4, 0, 1), (0, 4, 2)))
    directions = points[:, None] - origins  # (K, V, 3)
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    answer = intersect_rays(origins, directions, np.array(((1, 1), (0, 1), (1, 1.0))))
    assert answer.shape == (3, 3)
    assert answer[[0, 2]] == pytest.approx(points[[0, 2]])
    assert np.isnan(answer[1]).all()


def test_distance_to_a_ray() -> None:
    """The distance is across the ray, however far along it the point is."""
    origins, directions = np.stack((0 * X, Y)), np.stack((X, X))
    distances = ray_distances(origins, directions, np.array(((5, 3, 4), (0.1, 1, 0))))
    assert distances == pytest.approx(np.array(((5, np.hypot(2, 4)), (1, 0))))


def test_a_point_behind_the_camera_is_infinitely_far() -> None:
    """A camera does not see backwards, though the line through it passes the point."""
    distances = ray_distances(np.stack((0 * X, -5 * X)), np.stack((X, X)), -2 * X)
    assert distances.tolist() == [np.inf, 0]
