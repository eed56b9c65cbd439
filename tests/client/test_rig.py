"""Cameras agree with OpenCV, change size as videos do, and refuse what is no camera."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
import pytest

from synpose.errors import CalibrationError
from synpose.rig import Camera, Rig

K = np.array(((900.0, 0, 655), (0, 910, 350), (0, 0, 1)))
TURN = np.array((0.2, -0.4, 0.1))
R = cv2.Rodrigues(TURN)[0]
T = np.array((0.1, -0.2, 4.0))
LENSES = {
    "none": (),
    "four": (-0.12, 0.05, 0.001, -0.002),
    "five": (-0.12, 0.05, 0.001, -0.002, 0.01),
    "eight": (0.3, 0.1, 0.001, -0.002, 0.02, 0.35, 0.12, 0.03),
    "fisheye": (0.05, -0.02, 0.004, -0.001),
}


def camera(lens: str = "five", **changes: Any) -> Camera:
    model: Literal["pinhole", "fisheye"] = "fisheye" if lens == "fisheye" else "pinhole"
    values: dict[str, Any] = {
        "name": "a", "size": (1280, 720), "K": K, "R": R, "t": T, "distortion": LENSES[lens], "model": model,
    }  # fmt: skip
    return Camera(**(values | changes))


@pytest.mark.parametrize("lens", LENSES)
def test_projection_is_that_of_opencv(lens: str) -> None:
    """Pixels of points in view are OpenCV's to 1e-6 px, for every distortion model."""
    points = np.random.default_rng(0).uniform(-1, 1, (200, 3))
    coefficients = np.array(LENSES[lens] or (0.0,) * 4)
    if lens == "fisheye":
        expected = cv2.fisheye.projectPoints(points[:, None], TURN, T, K, coefficients)[0]
    else:
        expected = cv2.projectPoints(points, TURN, T, K, coefficients)[0]
    np.testing.assert_allclose(camera(lens).project(points), expected.reshape(-1, 2), atol=1e-6)


@pytest.mark.parametrize("lens", LENSES)
def test_undistortion_inverts_projection(lens: str) -> None:
    """Rays of projected points pass through those points to a micrometre."""
    points = np.random.default_rng(1).uniform(-1, 1, (200, 3))
    cam = camera(lens)
    rays = cam.rays(cam.project(points))
    np.testing.assert_allclose(np.linalg.norm(rays, axis=-1), 1)
    np.testing.assert_allclose(np.cross(rays, points - cam.center), 0, atol=1e-6)


@pytest.mark.parametrize("lens", ["four", "five", "eight", "fisheye"])
def test_undistortion_is_that_of_opencv(lens: str) -> None:
    """Where OpenCV's iteration converges, the normalised points are the same."""
    pixels = np.random.default_rng(2).uniform((300, 150), (980, 570), (100, 2))
    coefficients = np.array(LENSES[lens])
    if lens == "fisheye":
        expected = cv2.fisheye.undistortPoints(pixels[:, None], K, coefficients)
    else:
        expected = cv2.undistortPoints(pixels[:, None], K, coefficients)
    np.testing.assert_allclose(camera(lens).undistort(pixels), expected.reshape(-1, 2), atol=1e-7)


def test_points_behind_the_camera_have_no_pixels() -> None:
    """Projection of a point behind the camera is NaN, not its mirror image."""
    cam = camera()
    behind = cam.center - cam.R[2]
    assert np.isnan(cam.project(behind)).all()


def test_pixels_outside_an_invertible_lens_have_no_ray() -> None:
    """A pixel that the lens model cannot produce gives NaN."""
    assert np.isnan(camera(distortion=(-0.5, 0, 0, 0)).rays((1e5, 1e5))).all()


def test_scaled_videos_scale_the_pixels() -> None:
    """In a video of half the size a point lies at half the place, pixel centres considered."""
    points = np.random.default_rng(3).uniform(-1, 1, (20, 3))
    half = camera().resized((640, 360))
    assert half.size == (640, 360)
    np.testing.assert_allclose(half.project(points) + 0.5, (camera().project(points) + 0.5) / 2)


@pytest.mark.parametrize("size", [(1280, 720), (1272, 720), (1280, 736), (1296, 704)])
def test_codec_padding_leaves_the_intrinsics(size: tuple[int, int]) -> None:
    """Up to 16 px more or less at the right and lower edge change only the size."""
    other = camera().resized(size)
    assert other.size == size
    np.testing.assert_array_equal(other.K, K)


def test_other_shapes_are_refused() -> None:
    """A crop, or a video turned by 90°, is an error that names camera and field."""
    for size, words in (((1000, 720), "made for 1280×720"), ((720, 1280), "turned by 90°")):
        with pytest.raises(CalibrationError, match=words) as caught:
            camera().resized(size)
        assert (caught.value.field, caught.value.camera) == ("calibration.size", "a")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", (0, 720)),
        ("size", (1280,)),
        ("size", "large"),
        ("size", (np.inf, 720)),
        ("K", [[10**400, 0, 0], [0, 900, 0], [0, 0, 1]]),
        ("K", np.eye(2)),
        ("K", np.diag((-900.0, 900, 1))),
        ("K", np.diag((900.0, 900, 2))),
        ("K", np.full((3, 3), np.nan)),
        ("R", np.eye(3) * 1.01),
        ("R", np.diag((1.0, 1, -1))),
        ("R", "x"),
        ("t", (0, 0)),
        ("t", (0, 0, np.inf)),
        ("distortion", (0.1, 0.2)),
        ("distortion", (np.nan,) * 4),
        ("model", "mirror"),
    ],
)
def test_what_is_no_camera_is_refused_by_name(field: str, value: object) -> None:
    """Every impossible value raises `CalibrationError` with camera and field."""
    change: dict[str, Any] = {field: value}
    with pytest.raises(CalibrationError) as caught:
        camera("five", **change)
    assert (caught.value.field, caught.value.camera) == (f"calibration.{field}", "a")


def test_fisheye_needs_its_four_coefficients() -> None:
    """Five coefficients do not fit the fisheye model."""
    with pytest.raises(CalibrationError, match="fisheye"):
        camera("fisheye", distortion=LENSES["five"])


def test_cameras_are_frozen() -> None:
    """Neither fields nor arrays of a camera can be changed."""
    cam = camera()
    with pytest.raises(AttributeError):
        cam.name = "b"  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        cam.K[0, 0] = 1


@pytest.mark.parametrize("name", ["", " ", "\ud800", "a\nb", "a\0", "\x85", "x" * 201, 7])
def test_what_is_no_name_is_refused(name: object) -> None:
    """A camera's name is text without control characters, short enough for a header, in an error that can be sent."""
    with pytest.raises(CalibrationError) as caught:
        camera(name=name)
    assert caught.value.field == "calibration.name"
    caught.value.message.encode()


@pytest.mark.parametrize("name", ["a/b", 'a"b', "Kamera 1 – links", "カメラ", "x" * 200])
def test_names_may_hold_any_character(name: str) -> None:
    """Quotes, slashes and every script may be in a name."""
    assert camera(name=name).name == name


def test_rigs_hold_named_cameras() -> None:
    """Cameras are found by name and chosen in any order; unknown, doubled and missing ones are errors."""
    rig = Rig((camera(), camera(name="b")))
    assert rig.subset(("b", "a")).names == ("b", "a")
    assert len(rig) == 2
    with pytest.raises(CalibrationError, match="it has a, b") as caught:
        rig["c"]
    assert caught.value.camera == "c"
    for cameras in ((), (camera(), camera())):
        with pytest.raises(CalibrationError):
            Rig(cameras)
