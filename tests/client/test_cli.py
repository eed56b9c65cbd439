"""The command `synpose`, called as a user calls it, with a known engine in the place of the real one."""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.server.fake_engine import FakeEngine
from tests.server.live_server import serve

import synpose_server.engine
import synpose_server.evaluate_clip
from synpose.calibrated import Calibrated, CalibrationReport, CameraReport
from synpose.calibration import write_calibration
from synpose.cli import main
from synpose.errors import Overloaded
from synpose.formats import FORMATS, ndjson
from synpose.options import Options
from synpose.pose import ModelInfo, PoseHeader, PoseSequence
from synpose.rig import Camera, Rig
from synpose.skeleton import COCO17
from synpose_server.evaluate_clip import ClipReport
from synpose_server.settings import Settings

K = [[50, 0, 32], [0, 50, 24], [0, 0, 1]]
RIG = Rig(tuple(Camera(name, (64, 48), K, np.eye(3), [x, 0, 4]) for name, x in (("cam01", -1), ("cam02", 1))))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """The engine that the command makes."""
    engine = FakeEngine(Settings.model_validate({}))
    monkeypatch.setattr(synpose_server.engine, "Engine", lambda settings, only=None: engine)
    return engine


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a calibration and two videos."""
    (tmp_path / "rig.json").write_text(write_calibration(RIG))
    (tmp_path / "cam01.mp4").write_bytes(b"one")
    (tmp_path / "cam02.mp4").write_bytes(b"two")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def estimate(*more: str, output: str = "out.json", videos: tuple[str, ...] = ("cam01.mp4", "cam02.mp4")) -> int:
    return main(["estimate", "--calibration", "rig.json", "--output", output, *more, *videos])


def left(folder: Path) -> set[str]:
    """What is in the folder besides its inputs."""
    return {path.name for path in folder.iterdir()} - {"rig.json", "cam01.mp4", "cam02.mp4"}


def test_estimate_writes_json(engine: FakeEngine, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Videos become a file of frames; the summary goes to stdout and notices to stderr, with no bar in a pipe."""
    assert estimate("--max-people", "2", "--skeleton", "h36m17", "--fps", "25") == 0
    answer = json.loads((folder / "out.json").read_text())
    assert [frame["index"] for frame in answer["frames"]] == [0, 1, 2]
    assert answer["skeleton"]["name"] == "h36m17"
    (received,) = engine.received
    assert received.sources == {"cam01": b"one", "cam02": b"two"}
    assert received.options == Options(max_people=2, skeleton="h36m17", fps=25.0)
    assert engine.closed.is_set()
    out, err = capsys.readouterr()
    assert out.startswith("out.json: 3 frames, 1 person, h36m17, by fake 7 in ")
    assert out.count("\n") == 1
    assert err == "note: camera 'cam02': no image\n"
    assert left(folder) == {"out.json"}


def test_offsets_are_given_one_by_one(engine: FakeEngine, folder: Path) -> None:
    """Each names a camera, what is after the last equals sign are its frames."""
    rig = Rig((RIG["cam01"], replace(RIG["cam02"], name="left=cam")))
    (folder / "rig.json").write_text(write_calibration(rig))
    (folder / "left=cam.mp4").write_bytes(b"two")
    given = ("--offset", "left=cam=6.86", "--offset", "cam01=-1")
    assert estimate(*given, videos=("cam01.mp4", "left=cam.mp4")) == 0
    assert engine.received[0].options.offsets == {"left=cam": 6.86, "cam01": -1.0}


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_every_format(form: object, engine: FakeEngine, folder: Path) -> None:
    """The output's suffix picks the format."""
    suffix = form.suffix  # type: ignore[attr-defined]
    assert estimate(output=f"out{suffix}") == 0
    assert (folder / f"out{suffix}").stat().st_size > 0


def test_a_file_for_each_person(engine: FakeEngine, folder: Path) -> None:
    """A format of one person is written for each, and --up says which axis its y is."""
    engine.people = 2
    assert estimate("--up", "y", "--max-people", "2", output="out.trc") == 0
    assert left(folder) == {"out.trc", "out_p1.trc"}
    first, second = ((folder / name).read_text().splitlines()[7] for name in ("out.trc", "out_p1.trc"))
    assert first.split("\t")[2:5] == ["1.000000", "0.000000", "1.000000"]
    assert second.split("\t")[2:5] == ["1.000000", "1.000000", "1.000000"]


def test_a_format_that_cannot_be_written_here(
    engine: FakeEngine, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing is told before anything is estimated."""
    monkeypatch.setattr("synpose.formats.find_spec", lambda name: None)
    assert estimate(output="out.c3d") == 2
    assert "pip install 'synpose[c3d]'" in capsys.readouterr().err
    assert not engine.received


def test_ndjson_holds_all_frames(engine: FakeEngine, folder: Path) -> None:
    """Lines are written as they are computed, and are the whole answer in the end."""
    assert estimate(output="out.ndjson") == 0
    header, frames = ndjson.decode((folder / "out.ndjson").read_bytes().splitlines())
    assert header.model.name == "fake"
    assert [frame.index for frame in frames] == [0, 1, 2]


def test_folder_of_images_is_a_video(engine: FakeEngine, folder: Path) -> None:
    """A folder's images are paired by number with those of the others, and one that it lacks is missing."""
    for name, numbers in (("cam01", (1, 2, 10)), ("cam02", (1, 10))):
        (folder / "images" / name).mkdir(parents=True)
        for number in numbers:
            (folder / "images" / name / f"{number}.jpg").write_bytes(b"%d" % number)
    assert estimate(videos=("images/cam01", "images/cam02/")) == 0
    between = [None] * 7
    assert engine.received[0].sources == {
        "cam01": [b"1", b"2", *between, b"10"],
        "cam02": [b"1", None, *between, b"10"],
    }


def test_folder_without_images(engine: FakeEngine, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder in which no image lies is one clear line."""
    for name in RIG.names:
        (folder / "images" / name).mkdir(parents=True)
    assert estimate(videos=("images/cam01", "images/cam02")) == 2
    assert "camera 'cam01': the folder images/cam01 holds no JPEG or PNG images" in capsys.readouterr().err


def test_estimate_by_a_server(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --server the engine is elsewhere, and the answer is the same."""
    engine = FakeEngine(Settings.model_validate({}))
    with serve(engine) as url:
        assert estimate("--server", url, "--fps", "50", "--offset", "cam02=-3") == 0
    assert engine.received[0].sources == {"cam01": b"one", "cam02": b"two"}
    assert engine.received[0].options == Options(fps=50.0, offsets={"cam02": -3.0})
    assert len(json.loads((folder / "out.json").read_text())["frames"]) == 3
    assert "note: camera 'cam02': no image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--output", "out.xyz", "cam01.mp4", "cam02.mp4"], r"no output format has the suffix '.xyz'"),
        (["--output", "out.json", "cam01.mp4", "cam09.mp4"], "camera 'cam09': there is no file cam09.mp4"),
        (["--output", "out.json", "cam01.mp4", "./cam01.mp4"], "camera 'cam01': cam01.mp4 and cam01.mp4 have the same"),
        (["--output", "out.json", "cam01.mp4"], "camera 'cam02': at least two cameras"),
        (["--output", "gone/out.json", "cam01.mp4", "cam02.mp4"], "cannot write gone/out.json: No such file"),
        (["--output", "out.json", "--max-people", "9", "cam01.mp4", "cam02.mp4"], "max_people must be"),
        (["--output", "out.json", "--skeleton", "stick", "cam01.mp4", "cam02.mp4"], "no skeleton 'stick'; there are"),
        (["--output", "out.json", "--model", "other", "cam01.mp4", "cam02.mp4"], "no model 'other'"),
        (["--output", "out.json", "--fps", "fast", "cam01.mp4"], "argument --fps: invalid float value: 'fast'"),
        (
            ["--output", "out.json", "--offset", "cam02", "cam01.mp4", "cam02.mp4"],
            "argument --offset: give a camera and its frames, as in cam02=6.86, not 'cam02'",
        ),
        (["--output", "out.json", "--offset", "cam02=x", "cam01.mp4", "cam02.mp4"], "not 'cam02=x'"),
        (
            ["--output", "out.json", "--offset", "cam02=nan", "cam01.mp4", "cam02.mp4"],
            "camera 'cam02': its offset must be a number of frames",
        ),
        (
            ["--output", "out.json", "--offset", "cam02=1", "--offset", "cam02=2", "cam01.mp4", "cam02.mp4"],
            "camera 'cam02': two offsets",
        ),
        (
            ["--output", "out.json", "--offset", "cam09=7", "cam01.mp4", "cam02.mp4"],
            "camera 'cam09': offsets name it, but the calibration has no such camera; it has cam01, cam02",
        ),
        (["--output", "out.json"], "required: VIDEO (see synpose estimate --help)"),
        (["--output", "out.json", "--server", "ftp://x", "cam01.mp4", "cam02.mp4"], "begins with http"),
        (["--output", "out.json", "--server", "http://127.0.0.1:1", "cam01.mp4", "cam02.mp4"], "127.0.0.1:1"),
    ],
)
def test_what_cannot_be_done(
    engine: FakeEngine, folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    """Anything unusable is one line on stderr and status 2; no file appears and the engine is not asked."""
    assert main(["estimate", "--calibration", "rig.json", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert says in err
    assert not engine.received
    assert left(folder) == set()


def test_broken_calibration(engine: FakeEngine, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A calibration that is none is one line and status 2."""
    (folder / "rig.json").write_text("?")
    assert estimate() == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("output", ["out.json", "out.ndjson"])
def test_failure_on_the_way_leaves_the_old_file(
    engine: FakeEngine, folder: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    """An error after some frames leaves no half file, and what was there before is still there."""
    engine.fails_at, engine.failure = 2, Overloaded("busy")
    (folder / output).write_text("before")
    assert estimate(output=output) == 2
    assert capsys.readouterr().err.endswith("error: busy\n")
    assert (folder / output).read_text() == "before"
    assert left(folder) == {output}


def test_output_has_the_permissions_of_any_new_file(engine: FakeEngine, folder: Path) -> None:
    """The file is as readable as one that a program simply makes."""
    (folder / "other").touch()
    assert estimate() == 0
    assert (folder / "out.json").stat().st_mode == (folder / "other").stat().st_mode


def test_full_disk(engine: FakeEngine, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be written is told with the file's name, and leaves nothing."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        assert estimate(output="out.ndjson") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "error: cannot write out.ndjson: File too large\n" in capsys.readouterr().err
    assert left(folder) == set()


def test_errors_of_the_estimate_are_not_those_of_the_output(engine: FakeEngine, folder: Path) -> None:
    """An error of the system that has nothing to do with the output is not told as one of it."""
    engine.fails_at, engine.failure = 1, ConnectionResetError("elsewhere")
    with pytest.raises(ConnectionResetError):
        estimate()
    assert left(folder) == set()


def test_evaluation_as_json_has_null_for_what_is_not_known(
    engine: FakeEngine, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two cameras and nobody to follow some measures are NaN, which JSON does not have."""
    report = ClipReport(3, 3, 1, np.nan, {"cam01": (np.inf, 2.0)}, 1.0, np.nan, 0.5, {2: np.nan})
    answer = PoseSequence(PoseHeader(ModelInfo("fake", "7"), COCO17, 30.0), ())
    monkeypatch.setattr(synpose_server.evaluate_clip, "evaluate_clip", lambda *_: (answer, report))
    assert main(["evaluate", "clip", "--json", "--calibration", "rig.json", "cam01.mp4", "cam02.mp4"]) == 0
    measured = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (measured["jitter"], measured["subsets"], measured["held_out"]) == (
        None,
        {"2": None},
        {"cam01": [None, 2.0]},
    )


def test_demo_without_a_place_for_its_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that cannot be made is one line, before a server is started."""
    pytest.importorskip("matplotlib")
    (folder / "Calib.qca.txt").touch()
    assert main(["demo", "--clip", str(folder), "--output", "rig.json/there"]) == 2
    assert capsys.readouterr().err == "error: cannot write into rig.json/there: Not a directory\n"


def test_unusable_environment(
    engine: FakeEngine, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting of the environment that cannot be is one line for commands that make an engine here, too."""
    monkeypatch.setenv("SYNPOSE_THREADS", "many")
    for status in (estimate(), main(["models"])):
        assert status == 2
    assert capsys.readouterr().err.count("error: threads: ") == 2


def test_ctrl_c(engine: FakeEngine, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends with 130, silently, and leaves no file."""
    engine.fails_at, engine.failure = 1, KeyboardInterrupt()  # type: ignore[assignment]
    assert estimate() == 130
    assert capsys.readouterr() == ("", "")
    assert engine.closed.is_set()
    assert left(folder) == set()


def test_missing_extra(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the server's packages the line says what to install."""
    for name in [name for name in sys.modules if name.startswith("synpose_server")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydantic_settings", None)
    assert estimate() == 2
    error = "error: pydantic_settings is not installed: pip install 'synpose[server,cpu]'\n"
    assert capsys.readouterr().err == error
    assert main(["serve"]) == 2
    assert capsys.readouterr().err == error


def test_models(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    """The models of this installation, in columns."""
    assert main(["models"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["NAME", "VERSION", "SKELETONS", "DESCRIPTION"]
    assert row.startswith("fake (default)  7 ")
    assert row.index("coco17, h36m17") == header.index("SKELETONS")


def test_models_of_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    """The models of a server, asked over HTTP."""
    with serve(FakeEngine(Settings.model_validate({}))) as url:
        assert main(["models", "--server", url]) == 0
    assert "fake (default)" in capsys.readouterr().out


def test_serve_with_an_unusable_setting(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that cannot be is named, whether it came from a flag or from the environment."""
    assert main(["serve", "--http-port", "70000"]) == 2
    assert capsys.readouterr().err.startswith("error: http_port: ")
    monkeypatch.setenv("SYNPOSE_MAX_CLIPS", "none")
    assert main(["serve"]) == 2
    assert capsys.readouterr().err.startswith("error: max_clips: ")


@pytest.mark.parametrize(
    ("offsets", "told"),
    [
        ((0.0, 0.4, -0.45), None),
        ((0.0, 6.861, 0.0), "--offset cam02=6.86"),
        ((0.0, 0.2, -12.5), "--offset cam02=0.20 --offset 'cam 3=-12.50'"),
    ],
)
def test_calibrate_tells_what_to_pass_on(
    engine: FakeEngine,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    offsets: tuple[float, ...],
    told: str | None,
) -> None:
    """The offsets that were found come as what `synpose estimate` takes, if any makes a frame."""
    cameras = tuple(
        CameraReport(name, 1.0, 100, 0.01, 0.01, 0.1, 900.0, 0.0, offset, 0.1)
        for name, offset in zip(("cam01", "cam02", "cam 3"), offsets, strict=True)
    )
    calibrated = Calibrated(RIG, CalibrationReport(100, 100, 1.8, cameras, ()))
    monkeypatch.setattr(engine, "calibrate", lambda *_, **__: calibrated)
    arguments = ["calibrate", "--height", "1.8", "--max-offset", "1", "--output", "rig.toml", "cam01.mp4", "cam02.mp4"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    if told is None:
        assert "--offset" not in out
    else:
        assert out.endswith(f"to estimate from videos of this start: {told}\n")


@pytest.mark.parametrize("command", ["serve", "estimate", "models", "train"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The help of every command shows a whole line to try."""
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"\n  synpose {command} " in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["fly"], ["estimate", "--out", "x"]])
def test_unknown_words(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A word that is no command, or a flag cut short, is one line and status 2."""
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version names the program."""
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("synpose ")
