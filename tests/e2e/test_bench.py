"""`synpose bench` against a real server over gRPC and streams."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.e2e.clip import CAMERAS, RIG, jpegs
from tests.e2e.doors import Server

from synpose.calibration import write_calibration
from synpose.cli import main

LOADS = {
    "grpc": ["--door", "grpc", "--clients", "1"],
    "filled streams": ["--door", "stream", "--clients", "2"],
    "playing cameras": ["--door", "stream", "--clients", "1", "--fps", "20", "--jitter", "0.01", "--mode", "every"],
}


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
def test_every_frame_set_is_answered(
    load: list[str], server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many frame sets as are sent are answered, once each."""
    for camera in CAMERAS:
        (tmp_path / camera).mkdir()
        for number, image in enumerate(jpegs(camera)):
            (tmp_path / camera / f"{number}.jpg").write_bytes(image)
    (tmp_path / "rig.json").write_text(write_calibration(RIG))
    videos = [*(str(tmp_path / camera) for camera in CAMERAS), "--calibration", str(tmp_path / "rig.json")]
    command = ["bench", "--server", f"grpc://{server.target}", "--model", "fast", *load, "--seconds", "60"]
    assert main([*command, "--count", "6", "--output", "-", *videos]) == 0
    record = json.loads(capsys.readouterr().out)
    streams = 2 if load[-1] == "2" else 1
    assert record["statuses"] == {"OK": 6 * streams}
    if "counters" in record:
        assert record["counters"]["frame_sets"] == 6 * streams
