"""What a run tells: CSV files, TensorBoard where it is installed, and a bar on a terminal or lines elsewhere."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

__all__ = ["CsvTable", "Log"]

_SECONDS_A_LINE = 30.0  # where there is no terminal: enough to see life, few enough to read


class CsvTable:
    """The CSV file `path` of rows that begin with their step; rows after step `start` are dropped, as never made."""

    def __init__(self, path: Path, start: int) -> None:
        self.path = path
        self.columns: list[str] = []
        rows: list[dict[str, str]] = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                rows = [row for row in reader if _step(row) <= start]
                self.columns = list(reader.fieldnames or ()) if rows else []
        self._write(rows)

    def add(self, row: Mapping[str, float]) -> None:
        """Append `row`, step first; numbers are written so that they read back exactly."""
        if new := [name for name in row if name not in self.columns]:
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            self.columns += new
            self._write(rows)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns).writerow(row)

    def _write(self, rows: list[dict[str, str]]) -> None:
        part = self.path.with_name(f"{self.path.name}.part")
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            if self.columns:
                writer.writeheader()
            writer.writerows(rows)
        part.replace(self.path)


def _step(row: Mapping[str, str]) -> float:
    """The step of a row; infinity for one that was cut short by a kill."""
    return float(row["step"]) if (row.get("step") or "").isdigit() and None not in row.values() else float("inf")


class Log:
    """The log of a run in the folder `out` that goes on after update `start` of `steps`.

    `train.csv` and `validation.csv` hold every number, TensorBoard's files the same; `console` gets a bar if it is a
    terminal, and otherwise a line every half minute.
    """

    def __init__(self, out: Path, start: int, steps: int, console: Console) -> None:
        self._tables = {name: CsvTable(out / f"{name}.csv", start) for name in ("train", "validation")}
        self._board = _tensorboard(out, start)
        self._console = console
        self._start, self._steps = start, steps
        self._began = self._told = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar: TaskID = self._progress.add_task("training", total=steps, completed=start)

    def __enter__(self) -> Log:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if self._board is not None:
            self._board.close()

    def train(self, step: int, numbers: Mapping[str, float]) -> None:
        """Note the `numbers` of update `step`, among them `loss`."""
        self._add("train", step, {**numbers, "seconds": round(time.monotonic() - self._began, 3)})
        self._progress.update(self._bar, completed=step, description=f"loss {numbers['loss']:.4g}")
        now = time.monotonic()
        if self._progress.disable and (now - self._told >= _SECONDS_A_LINE or step == self._steps):
            self._told = now
            left = (now - self._began) / (step - self._start) * (self._steps - step)
            self.say(f"step {step}/{self._steps}  {_words(numbers)}  {left / 60:.1f} min left")

    def validation(self, step: int, numbers: Mapping[str, float]) -> None:
        """Note the `numbers` of a validation after update `step`."""
        self._add("validation", step, numbers)
        self.say(f"validation at step {step}  {_words(numbers)}")

    def say(self, text: str) -> None:
        """A line for whoever watches."""
        self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _add(self, table: str, step: int, numbers: Mapping[str, float]) -> None:
        self._tables[table].add({"step": step, **numbers})
        if self._board is not None:
            for name, number in numbers.items():
                self._board.add_scalar(f"{table}/{name}", number, step)


def _words(numbers: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {number:.4g}" for name, number in numbers.items())


def _tensorboard(out: Path, start: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(out / "tensorboard", purge_step=start + 1)
