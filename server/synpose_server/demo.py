"""The main job from end to end: start a server, send it the example clip, leave what came back to be looked at."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from synpose.calibration import read_calibration
from synpose.client import Client
from synpose.errors import OptionsError, ServerError
from synpose.formats import FORMATS
from synpose.options import Options
from synpose.pose import Frame, PoseSequence
from synpose_server.engine import Engine
from synpose_server.evaluate_clip import ClipReport, evaluate_clip
from synpose_server.overlay import write_overlay
from synpose_server.plot import write_plot
from synpose_server.settings import Settings

__all__ = ["EXAMPLE_CLIP", "demo"]

EXAMPLE_CLIP = Path(__file__).parents[2] / "examples" / "balancing"
"""Where the example lies in a checkout; an installed package does not carry it."""


def demo(clip: Path, output: Path, model: str, settings: Settings, console: Console) -> None:
    """Send the videos of `clip` to a server of its own; leave the answer as files in `output` and print a table.

    In a terminal the server then stays, for its page, until somebody presses Ctrl-C. The server reads its
    settings as `synpose serve` does; `settings` are those of the measuring here. Raises `OptionsError` for a folder
    without the clip, or one that cannot be written.
    """
    videos = sorted(clip.glob("*.mp4"))
    calibration = clip / "Calib.qca.txt"
    if not videos or not calibration.is_file():
        raise OptionsError(f"{clip} is not the example clip; run this in a checkout or pass --clip", field="clip")
    try:
        output.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise OptionsError(f"cannot write into {output}: {error.strerror}", field="output") from None
    rig = read_calibration(calibration)
    sources = {video.stem: video for video in videos}

    with _server() as address:
        console.print(
            f"server on {address}, a page for browsers; POST {address}/v1/pose3d with {len(videos)} videos of {clip}"
        )
        started = time.monotonic()
        with Client(address) as client, client.stream(videos, calibration, model=model) as stream:
            with _bar("estimating", None, console) as step:
                frames = tuple(_each(stream, step))
            sequence = PoseSequence(stream.header, frames)
        seconds = time.monotonic() - started
        for notice in sequence.notices:
            console.print(f"note: {notice}", highlight=False, markup=False, soft_wrap=True)

        for name in ("json", "trc"):
            (output / f"pose{FORMATS[name].suffix}").write_bytes(FORMATS[name].write(sequence))
        with _bar("drawing", len(frames), console) as step:
            write_overlay(output / "overlay.mp4", rig, sources, sequence, settings, step)
        write_plot(output / "pose.png", rig, sequence)

        with _progress("measuring", None, console) as (bar, task):
            _, report = evaluate_clip(
                Engine(settings, only=model),
                rig,
                sources,
                Options(model=model),
                lambda done, total: bar.update(task, completed=done, total=total),
                sizes=(),
            )
        console.print(_table(report, len(frames) / seconds))
        console.print(f"left in {output}/: pose.json, pose.trc, overlay.mp4, pose.png", highlight=False)
        if console.is_terminal:
            console.print(f"the page is on {address} until Ctrl-C", highlight=False)
            with suppress(KeyboardInterrupt):
                while True:
                    time.sleep(3600)


@contextmanager
def _server() -> Iterator[str]:
    """A server on free ports, as `synpose serve` starts it; its HTTP address. Ended with the block."""
    command = [sys.executable, "-m", "synpose.cli", "serve", "--http-port", "0", "--grpc-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("HTTP on "):
                    yield line.removeprefix("HTTP on ").strip()
                    break
            else:
                raise ServerError("the server did not start; `synpose serve` tells why")
        finally:
            process.terminate()


def _each(frames: Iterable[Frame], step: Callable[[Frame], None]) -> Iterator[Frame]:
    for frame in frames:
        step(frame)
        yield frame


@contextmanager
def _progress(what: str, total: int | None, console: Console) -> Iterator[tuple[Progress, TaskID]]:
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress, progress.add_task(what, total=total)


@contextmanager
def _bar(what: str, total: int | None, console: Console) -> Iterator[Callable[[Frame], None]]:
    with _progress(what, total, console) as (bar, task):
        yield lambda frame: bar.advance(task)


def _table(report: ClipReport, rate: float) -> Table:
    pixels, millimetres = report.held_out_mean
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in (
        ("frames", f"{report.frames}, with a person in {report.answered}"),
        ("people", f"{report.people}"),
        ("mean standard error", f"{report.mean_sigma:.1f} mm"),
        ("leave-one-camera-out reprojection", f"{pixels:.1f} px, {millimetres:.1f} mm at the person"),
        ("limb-length spread", f"{report.limb_spread:.1f} mm"),
        ("speed", f"{rate:.1f} frame sets/s"),
    ):
        table.add_row(name, value)
    return table
