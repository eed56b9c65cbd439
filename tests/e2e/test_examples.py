"""The programs under examples/python run as they stand, against a real server."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.clip import CAMERAS, FRAMES, video
from tests.e2e.doors import Server

from synpose.cli.main import _parser

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "python"


def output_of(example: str, server: Server, folder: Path) -> list[str]:
    """What the example prints, run in `folder` on the example clip cut short."""
    shutil.copy(ROOT / "examples" / "balancing" / "Calib.qca.txt", folder)
    for camera in CAMERAS:
        (folder / f"{camera}.mp4").write_bytes(video(camera))
    command = [sys.executable, str(EXAMPLES / example), server.url, "Calib.qca.txt", *(f"{c}.mp4" for c in CAMERAS)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_save_files(server: Server, tmp_path: Path) -> None:
    """Four files appear, named as printed, each with something in it."""
    pytest.importorskip("ezc3d")
    lines = output_of("save_files.py", server, tmp_path)
    assert lines == ["walk.trc", "walk.c3d", "walk.bvh", "walk.glb"]
    assert all((tmp_path / line).stat().st_size > 1000 for line in lines)


def test_joint_angles(server: Server, tmp_path: Path) -> None:
    """A table of bends, the first rows of the wrist, and a picture."""
    lines = output_of("joint_angles.py", server, tmp_path)
    assert "left_knee_flexion" in lines[0]
    assert any("left_wrist_x" in line for line in lines)
    assert (tmp_path / "poses.png").read_bytes().startswith(b"\x89PNG")


def test_as_it_comes(server: Server, tmp_path: Path) -> None:
    """A line for every frame of the man."""
    lines = [line for line in output_of("as_it_comes.py", server, tmp_path) if "person 0" in line]
    assert len(lines) == FRAMES


def commands() -> list[str]:
    """Every line of a shell block of the documentation that calls `synpose`."""
    pages = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))]
    blocks = [block for page in pages for block in re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("synpose ") and "…" not in line]


@pytest.mark.parametrize("line", commands())
def test_a_command_line_of_the_documentation_is_one(line: str) -> None:
    """The parser of `synpose` takes the line as it stands."""
    assert callable(_parser().parse_args(shlex.split(line, comments=True)[1:]).run)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.stem)
def test_python_in_the_documentation_is_python(page: Path) -> None:
    """Every Python block compiles."""
    for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        compile(block, page.name, "exec")


def test_every_example_is_tested() -> None:
    """No example is left out above."""
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"save_files", "joint_angles", "as_it_comes"}
