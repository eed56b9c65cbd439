"""The rules that every request keeps."""

from __future__ import annotations

import numpy as np
import pytest

from synpose.calibration import write_calibration
from synpose.errors import CalibrationError, InvalidInput
from synpose.options import Options
from synpose.rig import Camera, Rig
from synpose_server.requests import SMALL_BYTES, match_timestamps, read_rig

K = [[1000, 0, 640], [0, 1000, 360], [0, 0, 1]]


def calibration(cameras: int, distance: float = 4.0) -> dict[str, bytes]:
    rig = Rig(tuple(Camera(f"c{k}", (1280, 720), K, np.eye(3), [k, 0, distance]) for k in range(cameras)))
    return {"c.json": write_calibration(rig).encode()}


def test_a_calibration_that_comes_again_is_not_read_again() -> None:
    """Its bytes decide, not its name's owner; what is large is read each time, and not kept."""
    first = read_rig(calibration(2), Options())
    assert read_rig(calibration(2), Options()) is first
    other = read_rig(calibration(2, distance=5.0), Options())
    assert other.cameras[0].t[2] == 5.0
    large = calibration(100)
    assert len(large["c.json"]) > SMALL_BYTES
    assert read_rig(large, Options()) is not read_rig(large, Options())


@pytest.mark.parametrize("times", [[0, 1e-310], [0, 1e-7], [0, 1, 1 + 1e-9], [0, 2e6], [-1e308, 1e308]])
def test_times_that_no_camera_has_are_told(times: list[float]) -> None:
    """They would give frame rates beyond all numbers, after the whole clip was computed."""
    with pytest.raises(InvalidInput, match="ascend by 1e-06 to 1e") as caught:
        match_timestamps(times, len(times))
    assert caught.value.field == "frame_sets.timestamp"
    assert match_timestamps([1.7e9, 1.7e9 + 1e-5, 1.7e9 + 9e5], 3) is not None


def test_a_broken_calibration_is_broken_each_time() -> None:
    """Errors are not kept, and name their field."""
    for _ in range(2):
        with pytest.raises(CalibrationError) as caught:
            read_rig({"c.json": b"{}"}, Options())
        assert caught.value.field == "calibration"
