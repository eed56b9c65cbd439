"""Measure how well an answer agrees with itself, without knowing the truth.

It predicts each camera's keypoints from the other cameras (pixels, and mm at the person), compares the answers of
pairs and triples of cameras with that of all, and tells how steady limbs and joints are. The clip is estimated anew
for each of these: 11 times with four cameras.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from synpose.cli.clip import add_arguments, read_clip
from synpose.cli.extras import needs_extra
from synpose.cli.finite import finite
from synpose.cli.settings import load_settings

if TYPE_CHECKING:
    from synpose_server.evaluate_clip import ClipReport

__all__ = ["EXAMPLE", "configure", "run"]

EXAMPLE = "synpose evaluate clip --calibration Calib.qca.txt cam01.mp4 cam02.mp4 cam03.mp4"


def configure(parser: argparse.ArgumentParser) -> None:
    add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> None:
    clip = read_clip(args)
    settings = load_settings()
    sources = clip.sources(settings)
    with needs_extra("server,cpu"):
        from synpose_server.engine import Engine
        from synpose_server.evaluate_clip import evaluate_clip
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    with Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("estimating", total=None)
        engine = Engine(settings, only=clip.options.model)
        sequence, report = evaluate_clip(
            engine,
            clip.rig,
            sources,
            clip.options,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    for notice in sequence.notices:
        console.print(f"note: {notice}")
    if args.json:
        print(json.dumps(finite(asdict(report)), allow_nan=False))
    else:
        Console().print(_table(report))


def _table(report: ClipReport) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    rows = [("frames", f"{report.frames}, with a person in {report.answered}"), ("people", str(report.people))]
    pixels, millimetres = report.held_out_mean
    rows.append(("leave-one-camera-out reprojection", f"{pixels:.1f} px, {millimetres:.1f} mm at the person"))
    rows += [(f"  {camera}", f"{px:.1f} px, {mm:.1f} mm") for camera, (px, mm) in report.held_out.items()]
    rows += [(f"{n} cameras against all", f"{mm:.1f} mm, mean of subsets") for n, mm in report.subsets.items()]
    rows.append(("limb-length spread", f"{report.limb_spread:.1f} mm"))
    rows.append(("jitter", f"{report.jitter:.1f} mm/frame²"))
    rows.append(("limb joints missing", f"{report.missing:.2%}"))
    rows.append(("mean standard error", f"{report.mean_sigma:.1f} mm"))
    for row in rows:
        table.add_row(*row)
    return table
