"""Compare models, and learning-free baselines on the same keypoints, on rendered clips with exact truth.

Errors are means over frames and the twelve limb joints in mm, in the world frame; a missing joint counts as 250 mm.
Clips of several people are measured apart: who is missed, invented or exchanged.
`--baselines` runs plain and robust ray intersection and, where they are installed, Pose2Sim's and aniposelib's.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from synpose.cli.extras import needs_extra
from synpose.cli.finite import finite
from synpose.cli.output import whole_file
from synpose.cli.settings import load_settings

if TYPE_CHECKING:
    from synpose_server.baselines import Baseline
    from synpose_server.evaluate_rendered import RenderedReport

__all__ = ["EXAMPLE", "configure", "run"]

EXAMPLE = "synpose evaluate rendered clips --model accurate fast --baselines --json rendered.json"

_WORST = 5  # clips in the table of the worst


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clips", type=Path, metavar="DIR", help="folder of `synpose render clips`")
    parser.add_argument("--model", nargs="+", default=["default"], metavar="NAME", help="models (default: `default`)")
    parser.add_argument(
        "--baselines", nargs="*", metavar="NAME", help="plain, robust, pose2sim, aniposelib; without names all"
    )
    parser.add_argument(
        "--cameras",
        nargs="+",
        type=int,
        default=[],
        metavar="N",
        help="also N cameras of each clip, several subsets",
    )
    parser.add_argument("--subsets", type=int, default=6, metavar="N", help="how many for each number of cameras (6)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measures, by group and by clip")


def run(args: argparse.Namespace) -> None:
    settings = load_settings()
    with needs_extra("server,cpu"):
        from synpose_server.baselines import chosen_baselines
        from synpose_server.engine import Engine
        from synpose_server.evaluate_rendered import evaluate_rendered
        from synpose_server.rendered_clip import read_clips
    clips = read_clips(args.clips)
    baselines: dict[str, Baseline] = {}
    skipped: dict[str, str] = {}
    if args.baselines is not None:
        baselines, skipped = chosen_baselines(tuple(args.baselines))
    engines = {}
    for name in args.model:
        engine = Engine(settings, only=name)
        engines[engine.model(name).bundle.name] = engine
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    with (
        whole_file(args.json) if args.json else nullcontext() as write,
        Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as progress,
    ):
        task = progress.add_task("estimating", total=None)
        report = evaluate_rendered(
            engines,
            clips,
            baselines,
            skipped,
            args.cameras,
            args.subsets,
            lambda what, done, total: progress.update(task, description=what, completed=done, total=total),
        )
        if write:
            write((json.dumps(finite(report.as_dict()), indent=1, allow_nan=False) + "\n").encode())
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    tables = []
    if report.cases:
        tables += [*_by_cameras(report), _by_views(report), _others(report), _keypoints(report), _worst(report)]
    if report.followed:
        tables.append(_people(report))
    for table in tables:
        out.print(table)
        out.print()
    for name, reason in skipped.items():
        out.print(f"{name} was LEFT OUT: {reason}", style="bold red", markup=False)


def _table(title: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in (title, *columns):
        table.add_column(column, no_wrap=True, justify="right" if table.columns else "left")
    return table


def _by_cameras(report: RenderedReport) -> Iterator[Table]:
    names = [name for name in report.groups(report.methods[0]) if not name.startswith("seen by")]
    columns = {name: name.removesuffix(" cameras") for name in names}
    for title, measure, write in (
        ("error, mm, by number of cameras", "mpjpe", _number),
        ("aligned error, mm, by number of cameras", "p_mpjpe", _number),
        ("within one sigma, by number of cameras", "within_one_sigma", _share),
        ("within two sigma, by number of cameras", "within_two_sigma", _share),
    ):
        yield _grouped(report, title, columns, measure, write)


def _by_views(report: RenderedReport) -> Table:
    names = [name for name in report.groups(report.methods[0]) if name.startswith("seen by")]
    title = "error, mm, by views that see the joint"
    return _grouped(report, title, {name: name.removeprefix("seen by ") for name in names}, "mpjpe", _number)


def _grouped(
    report: RenderedReport, title: str, columns: Mapping[str, str], measure: str, write: Callable[[float], str]
) -> Table:
    """One `measure` of every method that has it, by group."""
    table = _table(title, *columns.values())
    for method in report.methods:
        groups = report.groups(method)
        values = [getattr(groups[name], measure) if name in groups else math.nan for name in columns]
        if not all(map(math.isnan, values)):
            table.add_row(method, *map(write, values))
    return table


def _others(report: RenderedReport) -> Table:
    table = _table(
        "over everything, mm and shares",
        *("root-relative", "aligned", "PCK@150", "AUC", "in 1 sigma", "in 2 sigma", "missing", "all 27 joints"),
    )
    for method in report.methods:
        m = report.groups(method)["all"]
        shares = (m.pck_150, m.auc, m.within_one_sigma, m.within_two_sigma, m.missing)
        everything = report.groups(method, range(27))["all"].mpjpe
        table.add_row(method, _number(m.root_mpjpe), _number(m.p_mpjpe), *map(_share, shares), _number(everything))
    return table


def _keypoints(report: RenderedReport) -> Table:
    table = _table("keypoints in the images", "PCK@0.1", "MSE px²", "missing")
    for model, groups in report.keypoints.items():
        for name, k in groups.items():
            table.add_row(f"{model}, {name}", _share(k.pck), _number(k.mse), _share(k.missing))
    return table


def _worst(report: RenderedReport) -> Table:
    """The clips on which the first model is worst, with what the other methods make of them."""
    from synpose_server.evaluate_rendered import LIMBS, measure

    errors: dict[tuple[str, tuple[str, ...]], dict[str, float]] = {}
    for case in report.cases:
        errors.setdefault((case.clip, case.cameras), {})[case.method] = measure([case], LIMBS).mpjpe
    first = report.methods[0]
    worst = sorted(errors, key=lambda key: -errors[key][first])[:_WORST]
    table = _table(f"error, mm, worst clips of {first}", *(f"{clip} ({len(cams)})" for clip, cams in worst))
    motions = {clip.name: clip.motion for clip in report.clips}
    table.add_row("motion", *(motions[clip] for clip, _ in worst))
    for method in report.methods:
        table.add_row(method, *(_number(errors[key].get(method, math.nan)) for key in worst))
    return table


def _people(report: RenderedReport) -> Table:
    columns = ("people", "frames", "error, mm", "alone", "more", "MOTA", "missed", "invented", "switches", "a minute")
    table = _table("several people", *columns)
    for m in report.followed:
        counts = (str(m.missed), str(m.invented), str(m.switches), _number(m.switches_per_minute))
        errors = (_number(m.mpjpe), _number(m.alone), _share(m.mpjpe / m.alone - 1))
        row = (str(m.people), str(m.frames), *errors, _share(m.mota), *counts)
        table.add_row(f"{m.clip}, {m.method}", *row)
    return table


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1f}"


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1%}"
