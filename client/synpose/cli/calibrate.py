"""Calibrate cameras from synchronized videos of one person who moves before them.

The scale comes from the person's height or from the distance between two cameras. Lenses are found too, less firmly
than places: give a calibration whose lenses are right, or videos of a board, where there are any.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from synpose.calibrated import Calibrated, CalibrationReport
from synpose.calibration import read_lenses, write_calibration, write_toml
from synpose.calibration_options import CalibrationOptions
from synpose.cli import server
from synpose.cli.clip import by_camera
from synpose.cli.extras import needs_extra
from synpose.cli.output import whole_file
from synpose.cli.settings import load_settings
from synpose.errors import OptionsError
from synpose.rig import Rig

__all__ = ["EXAMPLE", "configure", "run"]

EXAMPLE = "synpose calibrate --height 1.80 --output calib.toml cam01.mp4 cam02.mp4 cam03.mp4"

_WRITERS = {".toml": write_toml, ".json": write_calibration}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="video, named like its camera")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="calibration to write: .toml, .json")
    parser.add_argument("--height", type=float, metavar="M", help="the person's standing height without shoes, metres")
    parser.add_argument("--baseline", metavar="A:B:M", help="distance of the lenses of cameras A and B, metres")
    parser.add_argument(
        "--max-offset", type=float, metavar="S", help="seconds by which cameras may have started apart (0)"
    )
    parser.add_argument("--intrinsics", type=Path, metavar="FILE", help="calibration whose lenses are used")
    parser.add_argument("--board", metavar="SPEC", help="checkerboard:9x6 (inner corners) or charuco:5x7:DICT_4X4_50")
    parser.add_argument(
        "--board-videos", nargs="+", type=Path, default=[], metavar="VIDEO", help="of the board, named alike"
    )
    parser.add_argument("--same-lens", action="store_true", default=None, help="the cameras are of one kind")
    parser.add_argument("--gravity", metavar="A:X:Y:Z", help="direction of gravity in the frame of camera A")
    parser.add_argument("--fps", type=float, metavar="F", help="frame rate in place of the videos' own")
    parser.add_argument("--model", metavar="NAME", help="model whose 2D network is used (default)")
    server.add_arguments(parser, "let this server do it")
    parser.add_argument("--json", action="store_true", help="print the report as JSON instead of a table")


def run(args: argparse.Namespace) -> None:
    write_rig = _WRITERS.get(args.output.suffix.lower())
    if write_rig is None:
        raise OptionsError(f"the output must end in {' or '.join(_WRITERS)}", field="output")
    given: dict[str, Any] = {
        name: getattr(args, name) for name in ("model", "height", "max_offset", "board", "same_lens", "fps")
    }
    given |= {"baseline": _listed(args.baseline, 2), "gravity": _listed(args.gravity, 1)}
    given = {name: value for name, value in given.items() if value is not None}
    options = CalibrationOptions.from_mapping(given)
    videos, boards = by_camera(args.videos), by_camera(args.board_videos)
    lenses = read_lenses(args.intrinsics) if args.intrinsics else None
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    with whole_file(args.output) as write:
        with Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
            task = bar.add_task("looking", total=None)

            def progress(done: int, total: int | None) -> None:
                bar.update(task, completed=done, total=total, description="computing" if done == total else "looking")

            if args.server is None:
                calibrated = _here(videos, boards, lenses, options, progress)
            else:
                with server.connect(args) as client:
                    calibrated = client.calibrate(videos, intrinsics=lenses, boards=boards, progress=progress, **given)
        write(write_rig(calibrated.rig).encode())
    for notice in calibrated.report.notices:
        console.print(f"note: {notice}")
    if args.json:
        print(json.dumps(asdict(calibrated.report)))
    else:
        Console().print(_table(calibrated.report))
        if offsets := _offsets(calibrated.report):
            print(f"to estimate from videos of this start: {offsets}")


def _here(
    videos: Mapping[str, Path],
    boards: Mapping[str, Path],
    lenses: Rig | None,
    options: CalibrationOptions,
    progress: Callable[[int, int | None], None],
) -> Calibrated:
    """A calibration by an engine in this process."""
    settings = load_settings()
    with needs_extra("server,cpu"):
        from synpose_server.calibrate.estimate import CalibrationRequest
        from synpose_server.engine import Engine
    known = {camera.name: camera for camera in lenses or ()}
    request = CalibrationRequest(videos, options, known, boards)
    return Engine(settings, only=options.model).calibrate(request, progress=progress)


def _listed(text: str | None, names: int) -> list[str | float] | None:
    """`A:B:2.5` as names and then numbers; what is no number stays text, which the options refuse."""
    if text is None:
        return None
    parts: list[str | float] = list(text.split(":"))
    for index in range(names, len(parts)):
        with suppress(ValueError):
            parts[index] = float(parts[index])
    return parts


def _offsets(report: CalibrationReport) -> str:
    """What `synpose estimate` is told of cameras that did not start together; empty where all did."""
    if all(abs(camera.offset) < 0.5 for camera in report.cameras):
        return ""
    told = [(camera.name, f"{camera.offset:.2f}") for camera in report.cameras]
    return " ".join(f"--offset {shlex.quote(f'{name}={offset}')}" for name, offset in told if float(offset))


def _table(report: CalibrationReport) -> Table:
    table = Table(
        "camera", "reprojection", "position ±", "direction ±", "focal length", "offset", box=None, pad_edge=False
    )
    for camera in report.cameras:
        found = f" ± {camera.focal_error:.1%}" if camera.focal_error else ""
        table.add_row(
            camera.name,
            f"{camera.reprojection:.1f} px of {camera.keypoints}",
            f"{camera.position_error * 100:.1f} cm",
            f"{camera.rotation_error:.2f}°",
            f"{camera.focal:.0f} px{found}",
            f"{camera.offset:.2f}" + (f" ± {camera.offset_error:.2f}" if camera.offset_error else ""),
        )
    return table
