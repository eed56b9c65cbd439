"""Calibrating over HTTP and from the command line."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from tests.server.calibrate.scene import difference, make_rig
from tests.server.fake_engine import FakeEngine
from tests.server.live_server import serve

import synpose
from synpose.calibrated import Calibrated, CalibrationReport, CameraReport
from synpose.calibration import read_calibration, write_calibration, write_toml
from synpose.cli import main
from synpose.errors import CalibrationError, InvalidInput, OptionsError
from synpose_server.calibrate.estimate import CalibrationRequest
from synpose_server.job import Job

EXAMPLE = Path(__file__).parents[3] / "examples" / "balancing"
URL = "/v1/calibrations/estimate"
VIDEOS = [("video", (f"cam{v}.mp4", b"film")) for v in range(2)]
HEIGHT = {"options": json.dumps({"height": 1.8})}


class _Engine(FakeEngine):
    """Answers a known rig, and keeps what it was asked; waits for `go` if it is told to."""

    asked: CalibrationRequest | None = None
    waits = False
    tells: tuple[tuple[int, int | None], ...] = ()
    refuses: CalibrationError | None = None
    ended = threading.Event()

    def calibrate(
        self,
        request: CalibrationRequest,
        job: Job | None = None,
        progress: Callable[[int, int | None], None] = lambda done, total: None,
    ) -> Calibrated:
        self.asked = request
        assert job is not None
        started.set()
        for done, total in self.tells:
            progress(done, total)
            time.sleep(0.4)  # longer than lines are apart
        if self.refuses is not None:
            raise self.refuses
        try:
            while self.waits:
                job.check()
        finally:
            self.ended.set()
        told = CameraReport("cam0", 3.0, 900, 0.01, 0.002, 0.3, 1280.0, 0.02, 0.0, 0.0)
        return Calibrated(make_rig(2), CalibrationReport(90, 90, 1.8, (told,), ("a notice",)))


started = threading.Event()


def test_the_answer_is_a_calibration_and_a_report() -> None:
    """What comes back is read as any calibration; the request arrives whole."""
    engine = _Engine()
    lenses = ("calibration", ("rig.json", write_calibration(make_rig(2)).encode()))
    boards = ("board", ("cam1.avi", b"board"))
    with serve(engine) as url:
        answer = httpx.post(url + URL, files=[*VIDEOS, lenses, boards], data=HEIGHT)
    assert answer.status_code == 200, answer.text
    rig = read_calibration({"answer.json": json.dumps(answer.json()["calibration"]).encode()})
    assert difference(rig, make_rig(2))[0] < 1e-4
    assert answer.json()["report"]["cameras"][0]["name"] == "cam0"
    assert answer.json()["report"]["notices"] == ["a notice"]
    assert engine.asked is not None
    assert list(engine.asked.sources) == ["cam0", "cam1"]
    assert list(engine.asked.lenses) == ["cam0", "cam1"]
    assert list(engine.asked.boards) == ["cam1"]
    assert engine.asked.options.height == 1.8


STILL = CalibrationError("the person hardly moves", field="video", camera="cam1")
LINES = {"accept": "application/x-ndjson"}


def test_who_asks_for_lines_hears_how_far_it_is() -> None:
    """Progress, a line each, and then the same answer as without."""
    engine = _Engine()
    engine.tells = ((0, None), (40, 90), (90, 90))
    with serve(engine) as url:
        answer = httpx.post(url + URL, files=VIDEOS, data=HEIGHT, headers=LINES)
        whole = httpx.post(url + URL, files=VIDEOS, data=HEIGHT).json()
    assert answer.headers["content-type"] == "application/x-ndjson"
    *progress, last = map(json.loads, answer.text.splitlines())
    assert progress == [{"progress": {"done": done, "total": total}} for done, total in engine.tells]
    assert last == whole


def test_a_refusal_has_its_status_at_the_start_and_is_the_last_line_later() -> None:
    """Whoever reads lines gets the same problem, whenever it is found."""
    engine = _Engine()
    engine.refuses = STILL
    with serve(engine) as url:
        early = httpx.post(url + URL, files=VIDEOS, data=HEIGHT, headers=LINES)
        engine.tells = ((0, 90),)
        late = httpx.post(url + URL, files=VIDEOS, data=HEIGHT, headers=LINES)
    assert early.status_code == 422
    assert late.status_code == 200
    assert json.loads(late.text.splitlines()[-1])["error"] == early.json()
    assert early.json()["camera"] == "cam1"


def test_the_client_calibrates(tmp_path: Path) -> None:
    """Rig and report come back typed, all that was given arrives, and progress is heard."""
    engine = _Engine()
    engine.tells = ((0, 90), (90, 90))
    heard: list[tuple[int, int | None]] = []
    file = tmp_path / "cam1.mp4"
    file.write_bytes(b"film")
    with serve(engine) as url, synpose.Client(url, timeout=20) as client:
        found = client.calibrate(
            {"cam0": b"film", "cam1": file},
            intrinsics=make_rig(2),
            boards={"cam1": b"board"},
            board="checkerboard:9x6",
            height=1.8,
            progress=lambda done, total: heard.append((done, total)),
        )
    assert difference(found.rig, make_rig(2))[0] < 1e-4
    assert found.report.cameras[0].name == "cam0"
    assert found.report.notices == ("a notice",)
    assert heard == list(engine.tells)
    assert engine.asked is not None
    assert (list(engine.asked.sources), list(engine.asked.boards)) == (["cam0", "cam1"], ["cam1"])
    assert list(engine.asked.lenses) == ["cam0", "cam1"]
    assert (engine.asked.options.height, engine.asked.options.board) == (1.8, "checkerboard:9x6")


def test_lenses_may_come_without_a_unit(tmp_path: Path) -> None:
    """A file of anipose says nothing of its unit, which does not matter where only its lenses are used."""
    engine = _Engine()
    file = tmp_path / "lenses.toml"
    file.write_text(write_toml(make_rig(2)).replace('units = "m"', ""))
    videos = [tmp_path / "cam0.mp4", tmp_path / "cam1.mp4"]
    for video in videos:
        video.write_bytes(b"film")
    with serve(engine) as url:
        answer = httpx.post(url + URL, files=[*VIDEOS, ("calibration", ("a.toml", file.read_bytes()))], data=HEIGHT)
        assert answer.status_code == 200, answer.text
        with synpose.Client(url, timeout=20) as client:
            client.calibrate(videos, intrinsics=file, height=1.8)
        command = ["calibrate", *map(str, videos), "--intrinsics", str(file), "--height", "1.8", "--server", url]
        assert main([*command, "--output", str(tmp_path / "found.toml")]) == 0
    assert engine.asked is not None
    assert list(engine.asked.lenses) == ["cam0", "cam1"]


def test_the_client_raises_what_the_server_refused(tmp_path: Path) -> None:
    """The same exception with its camera; what cannot be meant is refused before anything is sent."""
    engine = _Engine()
    engine.refuses, engine.tells = STILL, ((0, 90),)
    (tmp_path / "cam0").mkdir()
    (tmp_path / "cam0" / "1.png").write_bytes(b"image")
    with serve(engine) as url, synpose.Client(url, timeout=20) as client:
        with pytest.raises(CalibrationError, match="hardly moves") as raised:
            client.calibrate({"cam0": b"film", "cam1": b"film"}, height=1.8)
        assert raised.value.camera == "cam1"
        with pytest.raises(OptionsError, match="give the person's height"):
            client.calibrate({"cam0": b"film", "cam1": b"film"})
        with pytest.raises(InvalidInput, match="not folders of images"):
            client.calibrate([tmp_path / "cam0"], height=1.8)
    with synpose.Client("grpc://127.0.0.1:1") as client, pytest.raises(InvalidInput, match="over HTTP alone"):
        client.calibrate({"cam0": b"film", "cam1": b"film"}, height=1.8)


def test_the_command_lets_a_server_do_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --server the engine is elsewhere, and the file is the same."""
    videos = [tmp_path / "cam0.mp4", tmp_path / "cam1.mp4"]
    for video in videos:
        video.write_bytes(b"film")
    output = tmp_path / "calib.toml"
    with serve(_Engine()) as url:
        arguments = ["calibrate", "--server", url, "--height", "1.8", "--output", str(output), *map(str, videos)]
        assert main(arguments) == 0
    assert difference(read_calibration(output), make_rig(2))[0] < 1e-4
    assert "note: a notice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "files", "field"),
    [
        ({"options": "{}"}, VIDEOS, "options.height"),
        ({"options": '{"height": 18}'}, VIDEOS, "options.height"),
        ({"options": '{"height": 1.8, "baseline": ["a", "b", 1]}'}, VIDEOS, "options.height"),
        ({"options": '{"baseline": ["cam0", "cam0", 1]}'}, VIDEOS, "options.baseline"),
        ({"options": '{"baseline": 3}'}, VIDEOS, "options.baseline"),
        ({"options": '{"height": 1.8, "gravity": ["cam0", 0, 0, 0]}'}, VIDEOS, "options.gravity"),
        ({"options": '{"height": 1.8, "max_offset": 99}'}, VIDEOS, "options.max_offset"),
        ({"options": '{"height": 1.8, "size": 1}'}, VIDEOS, "options.size"),
        ({"options": "{"}, VIDEOS, "options"),
        ({**HEIGHT, "note": "x"}, VIDEOS, "note"),
        (HEIGHT, [*VIDEOS, ("picture", ("cam0.mp4", b"film"))], "picture"),
        (HEIGHT, [*VIDEOS, ("video", ("cam0.avi", b"film"))], "video"),
        (HEIGHT, [*VIDEOS, ("calibration", ("rig.json", b"{}"))], "calibration"),
    ],
)
def test_what_cannot_be_used_names_its_field(
    data: dict[str, str], files: list[tuple[str, tuple[str, bytes]]], field: str
) -> None:
    """Every refusal is a problem document about a field."""
    with serve(_Engine()) as url:
        answer = httpx.post(url + URL, files=files, data=data)
    assert answer.status_code == 422, answer.text
    assert (answer.json().get("field") or "calibration") == field


def test_a_client_that_goes_away_ends_the_work() -> None:
    """The engine hears of it at the next frame set, and nothing stays behind."""
    engine = _Engine()
    engine.waits = True
    started.clear()
    engine.ended.clear()
    with serve(engine) as url:
        sent = {"files": VIDEOS, "data": HEIGHT}

        def ask() -> None:
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(url + URL, **sent, timeout=httpx.Timeout(30, read=0.5))  # type: ignore[arg-type]

        thread = threading.Thread(target=ask)
        thread.start()
        assert started.wait(20)
        thread.join(20)
        assert engine.ended.wait(20)


def test_the_example_is_calibrated_from_the_man_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From four videos, their lenses and his height: cameras near those that were measured, in the file's metres."""
    output = tmp_path / "calib.toml"
    videos = [str(path) for path in sorted(EXAMPLE.glob("*.mp4"))]
    lenses = ["--intrinsics", str(EXAMPLE / "Calib.qca.txt")]
    assert (
        main(["calibrate", *videos, *lenses, "--height", "1.68", "--model", "fast", "--output", str(output), "--json"])
        == 0
    )
    true = read_calibration(EXAMPLE / "Calib.qca.txt")
    found = read_calibration(output)
    degrees, share, scale = difference(found, true.subset(found.names))
    assert degrees < 2
    assert share < 0.03
    assert scale == pytest.approx(1, abs=0.05)
    report = json.loads(capsys.readouterr().out)
    assert [camera["name"] for camera in report["cameras"]] == list(found.names)
    assert all(camera["reprojection"] < 10 for camera in report["cameras"])
    assert all(0.5 < camera.center[2] < 3.5 for camera in found)  # tripods, above the floor


def test_the_command_refuses_and_leaves_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One camera, no scale, an output that is no calibration: one line each."""
    video, output = str(EXAMPLE / "cam01.mp4"), tmp_path / "calib.toml"
    for arguments, reason in (
        (["--height", "1.8", "--output", str(output)], "at least two cameras"),
        (["--output", str(output)], "give the person's height"),
        (["--height", "1.8", "--output", "calib.txt"], "must end in"),
        (["--baseline", "a:b:far", "--output", str(output)], "baseline must be two cameras"),
        (
            [str(EXAMPLE / "cam02.mp4"), "--height", "1.8", "--board", "checkerboard:9x6", "--output", str(output)],
            "there is no video of it: --board-videos",
        ),
    ):
        assert main(["calibrate", video, *arguments]) == 2
        assert reason in capsys.readouterr().err
        assert not list(tmp_path.iterdir())
