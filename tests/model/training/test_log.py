"""The logs of a run."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from synpose_model.training import log
from synpose_model.training.log import CsvTable, Log


def test_rows_read_back_exactly(tmp_path: Path) -> None:
    """Numbers keep all their digits, and a number that comes later gets a column."""
    path = tmp_path / "train.csv"
    table = CsvTable(path, 0)
    table.add({"step": 1, "loss": 0.1 + 0.2})
    table.add({"step": 2, "loss": 1e-30, "bones": 3.0})
    assert path.read_text().splitlines() == ["step,loss,bones", "1,0.30000000000000004,", "2,1e-30,3.0"]


def test_rows_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    """A resumed run keeps what was before its checkpoint, not what came after, nor a line that was cut short."""
    path = tmp_path / "train.csv"
    path.write_text("step,loss\n1,0.5\n2,0.4\n3,0.3\n2")
    CsvTable(path, 2).add({"step": 3, "loss": 0.25})
    assert path.read_text().splitlines() == ["step,loss", "1,0.5", "2,0.4", "3,0.25"]


@pytest.mark.parametrize("content", ["", "st"])
def test_a_file_that_was_hardly_begun(tmp_path: Path, content: str) -> None:
    """A log that was killed with its first line is begun again."""
    path = tmp_path / "train.csv"
    path.write_text(content)
    CsvTable(path, 0).add({"step": 1, "loss": 0.25})
    assert path.read_text().splitlines() == ["step,loss", "1,0.25"]


def test_lines_where_there_is_no_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file or pipe there are plain lines: one at the end, one a while, and each validation."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    text = io.StringIO()
    with Log(tmp_path, 0, 3, Console(file=text)) as quiet:
        quiet.train(1, {"loss": 0.5})
        quiet.validation(2, {"error": 12.3456})
        monkeypatch.setattr(log, "_SECONDS_A_LINE", 0.0)
        quiet.train(2, {"loss": 0.25})
        quiet.train(3, {"loss": 0.125})
    lines = text.getvalue().splitlines()
    assert [line.partition("  ")[0] for line in lines] == ["validation at step 2", "step 2/3", "step 3/3"]
    assert "error 12.35" in lines[0]
    assert "loss 0.25  0.0 min left" in lines[1]
    assert "\x1b" not in text.getvalue()


def test_tensorboard(tmp_path: Path) -> None:
    """Where TensorBoard is installed its files are written too."""
    pytest.importorskip("tensorboard", reason="not part of the train extra")
    with Log(tmp_path, 0, 1, Console(file=io.StringIO())) as board:
        board.train(1, {"loss": 0.5})
    assert list((tmp_path / "tensorboard").glob("events.*"))
