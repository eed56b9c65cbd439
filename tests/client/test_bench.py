"""`synpose bench`: loads against real doors, and the figures that are made of them."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from tests.e2e.clip import CAMERAS, RIG, jpegs
from tests.server.fake_engine import FakeEngine
from tests.server.live_server import serve

from synpose.bench import Answer, Report, Workload
from synpose.calibration import write_calibration
from synpose.cli import main
from synpose.errors import InvalidInput
from synpose_server.settings import Settings

SET = {camera: jpegs(camera)[0] for camera in CAMERAS}


@pytest.fixture
def clip(tmp_path: Path) -> list[str]:
    """The arguments that name a clip: folders of images and their calibration."""
    for camera in CAMERAS:
        (tmp_path / camera).mkdir()
        for number, image in enumerate(jpegs(camera)[:2]):
            (tmp_path / camera / f"{number}.jpg").write_bytes(image)
    (tmp_path / "rig.json").write_text(write_calibration(RIG))
    return [*(str(tmp_path / camera) for camera in CAMERAS), "--calibration", str(tmp_path / "rig.json")]


def test_figures() -> None:
    """Throughput counts answers, goodput those in time, and refusals are told apart."""
    answers = [Answer(0, 0.1, "200"), Answer(1, 0.3, "200"), Answer(2, 0.004, "503"), Answer(3, 0.2, "504")]
    record = Report(answers, seconds=4.0, deadline=0.2).record()
    assert (record["throughput"], record["goodput"], record["late"], record["sent"]) == (0.5, 0.25, 1, 4)
    assert record["statuses"] == {"200": 2, "503": 1, "504": 1}
    assert record["latency_ms"]["p50"] == pytest.approx(200)
    assert record["refusal_ms"]["max"] == pytest.approx(4)
    assert Report([], seconds=1.0).record()["latency_ms"] is None


def test_dropped_images_leave_two() -> None:
    """However many images are lost, a frame set keeps two cameras; without loss it is whole."""
    workload, chance = Workload(RIG, [SET], drop=0.9), Random(0)
    sizes = {len(workload.frame_set(k, chance)) for k in range(50)}
    assert min(sizes) == 2
    assert Workload(RIG, [SET]).frame_set(7, chance) == SET
    with pytest.raises(InvalidInput):
        Workload(RIG, [])


@pytest.mark.parametrize("loop", [["--clients", "3"], ["--rate", "200"], ["--rate", "200", "--arrivals", "constant"]])
def test_loops(loop: list[str], clip: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Both loops send exactly as many frame sets as they are told to, and each is answered."""
    with serve(FakeEngine(Settings.model_validate({}))) as url:
        command = ["bench", "--server", url, *loop, "--count", "12", "--deadline", "20", "--output", "-", *clip]
        assert main(command) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["statuses"] == {"200": 12}
    assert record["goodput"] == record["throughput"] > 0


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (["--server", "http://127.0.0.1:1", "--door", "grpc"], "server"),
        (["--fps", "30"], "fps"),
        (["--door", "stream", "--rate", "3"], "rate"),
        (["--rate", "3", "--clients", "2"], "clients"),
        (["--seconds", "0"], "seconds"),
        (["--calibration", "rig.json"], "calibration"),
        (["--output", "figures.csv"], "output"),
    ],
)
def test_what_does_not_go_together(wrong: list[str], field: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Arguments that contradict each other end in one line, before anything is started."""
    assert main(["bench", *wrong]) == 2
    assert field in capsys.readouterr().err


def test_nobody_there(clip: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A server that cannot be reached is one line, not a traceback of many tasks."""
    assert main(["bench", "--server", "http://127.0.0.1:1", "--clients", "4", *clip]) == 2
    assert capsys.readouterr().err.startswith("error: no answer from http://127.0.0.1:1")
