"""Measuring a real clip, with and without a truth, and the demo from command to files, on the example cut short."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from tests.e2e.clip import CALIBRATION as SMALL
from tests.e2e.clip import CAMERAS, FRAMES, video

from synpose.calibration import read_calibration
from synpose.cli import main
from synpose.formats import json as json_format
from synpose.options import Options
from synpose.skeleton import BODY27
from synpose_server.engine import Engine
from synpose_server.evaluate_clip import ClipReport, evaluate_clip
from synpose_server.settings import Settings

CALIBRATION = Path(__file__).parents[2] / "examples" / "balancing" / "Calib.qca.txt"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like examples/balancing, with short and small videos."""
    folder = tmp_path_factory.mktemp("clip")
    shutil.copy(CALIBRATION, folder)
    for camera in CAMERAS:
        (folder / f"{camera}.mp4").write_bytes(video(camera))
    return folder


@pytest.fixture(scope="module")
def report(clip: Path) -> ClipReport:
    """What `evaluate_clip` says of the clip."""
    sources = {camera: clip / f"{camera}.mp4" for camera in CAMERAS}
    options = Options(model="fast")
    _, report = evaluate_clip(Engine(Settings(), only="fast"), read_calibration(CALIBRATION), sources, options)
    return report


def evaluate(clip: Path, *more: str) -> int:
    videos = [str(clip / f"{camera}.mp4") for camera in CAMERAS]
    return main(["evaluate", "clip", "--calibration", str(clip / "Calib.qca.txt"), "--model", "fast", *more, *videos])


def test_a_real_clip_is_plausible(report: ClipReport) -> None:
    """Every frame has the one man, no limb joint is missing, and all measures are those of a person, not of noise."""
    assert (report.frames, report.answered, report.people, report.missing) == (FRAMES, FRAMES, 1, 0)
    assert set(report.held_out) == set(CAMERAS)
    for pixels, millimetres in report.held_out.values():
        assert 0.5 < pixels < 40  # of 720
        assert 5 < millimetres < 150
    assert report.held_out_mean == pytest.approx(np.mean(list(report.held_out.values()), axis=0))
    assert 0 < report.limb_spread < 40
    assert 0 < report.jitter < 40
    assert 1 < report.mean_sigma < 100
    assert set(report.subsets) == {2, 3}
    assert 0 < report.subsets[3] < report.subsets[2] < 150  # more cameras, nearer to all


def test_the_command_says_the_same(clip: Path, report: ClipReport, capsys: pytest.CaptureFixture[str]) -> None:
    """`synpose evaluate clip --json` prints the numbers of `evaluate_clip`, all finite, and nothing else."""
    assert evaluate(clip, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    subsets = {int(size): value for size, value in told.pop("subsets").items()}
    held_out = told.pop("held_out")
    assert subsets == pytest.approx(dict(report.subsets), rel=1e-6)
    assert sorted(held_out) == sorted(report.held_out)
    for camera, values in held_out.items():
        assert values == pytest.approx(report.held_out[camera], rel=1e-6)
    for name, value in told.items():
        assert math.isfinite(value)
        assert value == pytest.approx(getattr(report, name), rel=1e-6), name
    assert set(told) | {"subsets", "held_out"} == set(ClipReport.__dataclass_fields__)


def test_the_table_says_it_for_people(clip: Path, report: ClipReport, capsys: pytest.CaptureFixture[str]) -> None:
    """Without `--json` the same numbers come as a table, and notices go elsewhere."""
    assert evaluate(clip) == 0
    out, err = capsys.readouterr()
    assert f"{report.limb_spread:.1f} mm" in out
    assert all(camera in out for camera in CAMERAS)
    assert "note: camera 'cam01': the images are 408×720" in err
    assert "note" not in out


@pytest.fixture(scope="module")
def rendered(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip as if it were rendered, with the answer of the model `quick` for its truth."""
    folder = tmp_path_factory.mktemp("rendered") / "clip_000"
    folder.mkdir()
    (folder / "calibration.json").write_bytes(SMALL)
    sources = {camera: folder / f"{camera}.mp4" for camera in CAMERAS}
    for camera, path in sources.items():
        shutil.copy(clip / f"{camera}.mp4", path)
    rig = read_calibration(folder / "calibration.json")
    with Engine(Settings(), only="quick").estimate(
        rig, sources, Options(model="quick", skeleton="body27")
    ) as estimation:
        joints = np.stack([frame.people[0].joints for frame in estimation])
    np.savez(
        folder / "truth.npz",
        joints=joints,
        visibility=np.full((len(CAMERAS), FRAMES, 27), 2),
        names=np.array(BODY27.joints),
        cameras=np.array(CAMERAS),
        fps=60.0,
        motion="balancing",
        child=False,
    )
    return folder.parent


def test_rendered_clips_are_measured_against_their_truth(
    rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model whose answer is the truth has no error, a baseline has one; table and JSON say the same."""
    output = tmp_path / "out.json"
    command = ["evaluate", "rendered", str(rendered), "--model", "quick", "--baselines", "plain", "robust"]
    assert main([*command, "--json", str(output)]) == 0
    told = json.loads(output.read_text(), parse_constant=pytest.fail)
    groups = {method: measures["limb_joints"] for method, measures in told["methods"].items()}
    assert list(groups) == ["quick", "plain (quick)", "robust (quick)"]
    quick, plain = groups["quick"]["all"], groups["plain (quick)"]["all"]
    assert quick["mpjpe"] == pytest.approx(0, abs=1e-6)
    assert (quick["within_one_sigma"], quick["missing"]) == (1, 0)
    assert 0 < groups["robust (quick)"]["all"]["mpjpe"] < plain["mpjpe"]  # the limbs' lengths are not steadied
    assert 1 < plain["mpjpe"] < 200
    assert groups["quick"]["seen by 0"]["mpjpe"] is None
    assert told["keypoints"]["quick"]["visible"]["pck"] > 0.9
    out, err = capsys.readouterr()
    assert f"{plain['mpjpe']:.1f}" in out
    assert "clip_000 (4)" in out
    assert err == ""


def test_a_folder_without_rendered_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line and exit status 2, and no file of results."""
    assert main(["evaluate", "rendered", str(tmp_path), "--json", str(tmp_path / "out.json")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not list(tmp_path.iterdir())


def test_the_demo_leaves_its_files(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`synpose demo` asks a server of its own and leaves answer, overlay, picture and a table of measures."""
    output = tmp_path / "made" / "for it"
    assert main(["demo", "--clip", str(clip), "--output", str(output), "--model", "fast"]) == 0
    assert {path.name for path in output.iterdir()} == {"pose.json", "pose.trc", "overlay.mp4", "pose.png"}
    sequence = json_format.decode((output / "pose.json").read_bytes())
    assert (len(sequence.frames), sequence.header.model.name) == (FRAMES, "fast")
    assert np.isfinite(sequence.joints()).all()
    assert (output / "pose.trc").read_text().startswith("PathFileType")
    with av.open(str(output / "overlay.mp4")) as overlay:
        assert sum(1 for _ in overlay.decode(video=0)) == FRAMES
    assert cv2.imread(str(output / "pose.png")) is not None
    out, _ = capsys.readouterr()
    assert f"{FRAMES}, with a person in {FRAMES}" in out
    for row in ("leave-one-camera-out reprojection", "limb-length spread", "speed"):
        assert row in out


def test_the_demo_needs_a_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without videos is one line and exit status 2, before any server starts."""
    assert main(["demo", "--clip", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert "is not the example clip" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
