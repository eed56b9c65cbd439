"""Each tool's file gives the rig that it describes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from synpose.calibration import read_calibration, write_calibration, write_toml
from synpose.errors import CalibrationError
from synpose.rig import Camera, Rig

FILES = Path(__file__).parent / "calibrations"
BALANCING = Path(__file__).parents[2] / "examples/balancing/Calib.qca.txt"

# The rig that every file in `calibrations` describes.
CENTERS = np.array(((3.2, 0.4, 1.5), (-0.3, 3.6, 1.9), (-2.9, -1.1, 1.2)))
TARGET = (0.1, -0.2, 1.0)  # on all optical axes


@pytest.mark.parametrize(
    ("file", "units", "names", "coefficients"),
    [
        ("synpose.json", None, "cam01 cam02 cam03", 5),
        ("anipose.toml", "mm", "cam01 cam02 cam03", 5),
        ("freemocap.toml", None, "cam01 cam02 cam03", 5),
        ("pose2sim.toml", None, "cam01 cam02 cam03", 4),
        ("caliscope.toml", None, "cam_1 cam_2 cam_3", 5),
        ("caliscope_camera_array.toml", None, "cam_1 cam_2 cam_3", 5),
        ("qualisys.qca.txt", None, "cam01 cam02 cam03", 5),
        ("easymocap", None, "cam01 cam02 cam03", 5),
        ("easymocap/intri.yml", None, "cam01 cam02 cam03", 5),
        ("easymocap/extri.yml", None, "cam01 cam02 cam03", 5),
        ("panoptic.json", None, "cam01 cam02 cam03", 5),
    ],
)
def test_every_format_gives_the_same_rig_in_metres(file: str, units: None, names: str, coefficients: int) -> None:
    """Names, sizes, centres, viewing directions, intrinsics and distortion come out the same from all formats."""
    rig = read_calibration(FILES / file, units=units)
    assert " ".join(rig.names) == names
    for i, camera in enumerate(rig):
        assert camera.size == (1280, 720)
        np.testing.assert_allclose(camera.center, CENTERS[i], atol=2e-5)
        np.testing.assert_allclose(camera.project(TARGET), (641.25 + i, 358.5 - 2 * i), atol=0.02)
        np.testing.assert_allclose(camera.K[(0, 1), (0, 1)], (1111.5 + 10 * i, 1112.25 + 10 * i))
        expected = (-0.11 - 0.01 * i, 0.052 + 0.001 * i, 0.0007, -0.0004, 0.003 + 0.001 * i)
        np.testing.assert_allclose(camera.distortion, expected[:coefficients], atol=1e-9)
    reference = read_calibration(FILES / "synpose.json")
    for camera, other in zip(rig, reference, strict=True):
        np.testing.assert_allclose(camera.R, other.R, atol=2e-8)


def test_written_calibrations_are_read_back_unchanged() -> None:
    """`write_calibration` and `read_calibration` are inverse to the last digit."""
    rig = read_calibration(FILES / "easymocap")
    again = read_calibration({"upload": write_calibration(rig).encode()})
    for camera, other in zip(rig, again, strict=True):
        assert (camera.name, camera.size, camera.model) == (other.name, other.size, other.model)
        for name in ("K", "R", "t", "distortion"):
            np.testing.assert_array_equal(getattr(camera, name), getattr(other, name))


def test_unknown_keys_in_our_json_are_errors() -> None:
    """A misspelt key is refused by name, with its camera."""
    text = (FILES / "synpose.json").read_text().replace('"distortion"', '"distorsion"')
    with pytest.raises(CalibrationError, match="distorsion") as caught:
        read_calibration({"c.json": text.encode()})
    assert caught.value.camera == "cam01"


def meeting(rig: Rig, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The point `(3,)` nearest to the rays of one pixel `(V, 2)` a camera, and its distances `(V,)`, in metres."""
    directions = np.stack([camera.rays(pixel) for camera, pixel in zip(rig, pixels, strict=True)])
    origins = np.stack([camera.center for camera in rig])
    across = np.eye(3) - directions[:, :, None] * directions[:, None]  # (V, 3, 3)
    point = np.linalg.solve(across.sum(0), np.einsum("vij,vj->i", across, origins))
    return point, np.linalg.norm(np.einsum("vij,vj->vi", across, point - origins), axis=-1)


def test_qualisys_cameras_look_at_the_same_things() -> None:
    """Rays of two posts, found by eye in the balancing clip, meet in all four cameras, level and 64 cm apart.

    Each post is 6 cm thick and was marked at the centre of its top to some 3 px, which is 1 cm.
    """
    rig = read_calibration(BALANCING)
    assert rig.names == ("cam01", "cam02", "cam03", "cam04")
    assert {camera.size for camera in rig} == {(1088, 1920)}
    left, left_gap = meeting(rig, np.array(((667.9, 1519.2), (275.0, 1315.3), (262.1, 969.1), (831.0, 859.8))))
    right, right_gap = meeting(rig, np.array(((946.4, 1428.7), (631.1, 1341.5), (61.5, 1058.4), (611.0, 920.4))))
    assert max(left_gap.max(), right_gap.max()) < 0.035
    assert abs(left[2] - right[2]) < 0.01
    assert np.linalg.norm(left - right) == pytest.approx(0.636, abs=0.01)


def test_qualisys_leaves_out_cameras_without_video() -> None:
    """Marker cameras beside video cameras, and inactive cameras, are no part of the rig."""
    text = (FILES / "qualisys.qca.txt").read_text()
    off = text.replace('active="1" calibrated="true" message="" point-count="2000"', 'active="0"', 1)
    assert read_calibration({"a": off.encode()}).names == ("cam02", "cam03")


def test_qualisys_turned_views() -> None:
    """A view turned by 180° is refused, since its video would not show it; a quarter turn keeps the sensor's frame."""
    text = (FILES / "qualisys.qca.txt").read_text()
    with pytest.raises(CalibrationError, match="180") as caught:
        read_calibration({"a": text.replace('Video" viewrotation="0"', 'Video" viewrotation="180"').encode()})
    assert (caught.value.field, caught.value.camera) == ("calibration.viewrotation", "cam01")
    quarter = read_calibration({"a": text.replace('viewrotation="0"', 'viewrotation="90"').encode()})
    with pytest.raises(CalibrationError, match="turned by 90"):
        quarter["cam01"].resized((720, 1280))


def test_opencv_files_agree_with_opencv(tmp_path: Path) -> None:
    """Files that OpenCV's own FileStorage writes, with its line breaks and `1.` numbers, give the same camera."""
    rng = np.random.default_rng(3)
    K = np.array(((1000.0, 0, 640), (0, 1000, 360), (0, 0, 1)))
    turns, shifts = rng.normal(size=(2, 3, 1)), rng.normal(size=(2, 3, 1)) * 2
    intri = cv2.FileStorage(str(tmp_path / "intri.yml"), cv2.FILE_STORAGE_WRITE)
    extri = cv2.FileStorage(str(tmp_path / "extri.yml"), cv2.FILE_STORAGE_WRITE)
    for file in (intri, extri):
        file.startWriteStruct("names", cv2.FileNode_SEQ)
        for name in ("1", "2"):
            file.write("", name)
        file.endWriteStruct()
    for name, turn, shift in zip(("1", "2"), turns, shifts, strict=True):
        intri.write(f"K_{name}", K)
        intri.write(f"dist_{name}", np.array([[0.1, 0.01, 0, 0, 0] + [0.0] * 9]))
        extri.write(f"R_{name}", turn)
        extri.write(f"T_{name}", shift)
    intri.release()
    extri.release()
    for source in (tmp_path, tmp_path / "extri.yml"):
        rig = read_calibration(source)
        for camera, turn, shift in zip(rig, turns, shifts, strict=True):
            assert camera.size == (1280, 720)  # twice the principal point: the file has no size
            np.testing.assert_allclose(camera.R, cv2.Rodrigues(turn)[0], atol=1e-12)
            np.testing.assert_allclose(camera.t, shift[:, 0], atol=1e-12)
            assert camera.distortion.shape == (8,)


def test_half_of_an_easymocap_calibration_names_the_other() -> None:
    """An upload of one file says which one is missing."""
    for given, missing in (("intri.yml", "extri.yml"), ("extri.yml", "intri.yml")):
        with pytest.raises(CalibrationError, match=f"{missing} is missing"):
            read_calibration({given: (FILES / "easymocap" / given).read_bytes()})


def test_fisheye_cameras_of_the_toml_family() -> None:
    """`fisheye = true` gives the fisheye model and its four coefficients."""
    text = (FILES / "pose2sim.toml").read_text().replace("fisheye = false", "fisheye = true")
    assert {camera.model for camera in read_calibration({"c": text.encode()})} == {"fisheye"}


def test_written_toml_is_read_back(tmp_path: Path) -> None:
    """Also names that need quotes, fisheye lenses, half turns and no turn at all."""
    K = ((900, 0, 640), (0, 905, 360), (0, 0, 1))
    turns = (np.eye(3), np.diag((1, -1, -1)), np.diag((-1, -1, 1)), cv2.Rodrigues(np.array((0.3, -2.0, 1.0)))[0])
    cameras = [Camera(f'a "{v}"', (1280, 720), K, R, (v, 0.5, -2), (0.1, 0, 0, 0)) for v, R in enumerate(turns)]
    cameras.append(Camera("wide", (1280, 720), K, np.eye(3), (9, 0, 0), (0.1, 0, 0, 0), "fisheye"))
    path = tmp_path / "rig.toml"
    path.write_text(write_toml(Rig(tuple(cameras))))
    for camera, read in zip(cameras, read_calibration(path), strict=True):
        assert (read.name, read.size, read.model) == (camera.name, camera.size, camera.model)
        for field in ("K", "R", "t", "distortion"):
            np.testing.assert_allclose(getattr(read, field), getattr(camera, field), atol=1e-12)
