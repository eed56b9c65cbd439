"""What README.md tells people to type does what it says."""

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
from synpose.formats import ndjson

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    """The code blocks of README.md in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def typed(command: str) -> list[str]:
    """The lines of all shell blocks, and whole pieces of code in the text, that begin with `command`."""
    shell = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    inline = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", README)
    whole = [line.strip() for line in (*shell, *inline) if "…" not in line]
    return [line for line in whole if re.match(rf"{command}\s+[a-z-]", line)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the reader of README.md stands: the calibration and the videos, here the example cut short."""
    shutil.copy(ROOT / "examples" / "balancing" / "Calib.qca.txt", tmp_path)
    for camera in CAMERAS:
        (tmp_path / f"{camera}.mp4").write_bytes(video(camera))
    return tmp_path


def test_the_python_code_runs(server: Server, folder: Path) -> None:
    """The snippet asks a server and prints the shape of the answer in the skeleton that it asked for."""
    (code,) = blocks("python")
    assert ADDRESS in code
    code = code.replace(ADDRESS, server.url)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout == f"({FRAMES}, 17, 3)\n"


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_the_curl_command_runs(server: Server, folder: Path) -> None:
    """The command gets NDJSON with the skeleton of its options, a line for each frame, with the person in them."""
    (command,) = typed("curl")
    words = shlex.split(command)
    assert words[-1].startswith(ADDRESS)
    words[-1] = words[-1].replace(ADDRESS, server.url)
    done = subprocess.run([*words, "-sS"], cwd=folder, capture_output=True, timeout=60, check=True)
    header, lines = ndjson.decode(done.stdout.splitlines())
    assert header.skeleton.name == "halpe26"
    assert [frame.people[0].views for frame in lines] == [("cam01", "cam02")] * FRAMES


@pytest.mark.parametrize("line", typed("synpose"))
def test_a_command_line_is_one(line: str) -> None:
    """The parser of `synpose` takes the line as it stands."""
    arguments = shlex.split(line, comments=True)[1:]
    assert callable(_parser().parse_args(arguments).run)


def test_the_command_lines_are_found() -> None:
    """The tests above do look at something: README.md shows how to serve, estimate and evaluate."""
    assert {line.split()[1] for line in typed("synpose")} >= {"serve", "estimate", "evaluate"}


@pytest.mark.parametrize("line", typed("make"))
def test_a_make_target_is_one(line: str) -> None:
    """The Makefile has what README.md tells to make."""
    target = shlex.split(line, comments=True)[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?:|#)([^)#]+)", README))
def test_a_link_leads_somewhere(link: str) -> None:
    """A file that README.md links is there."""
    assert (ROOT / link).exists()


@pytest.mark.parametrize("line", typed("python"))
def test_a_script_is_there(line: str) -> None:
    """A Python file that README.md tells to run is there."""
    assert (ROOT / shlex.split(line)[1]).is_file()
