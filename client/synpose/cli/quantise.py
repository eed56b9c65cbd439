"""Make a variant of a model whose images are read in int8: faster on CPUs that can.

Every second of the clips tells the ranges of numbers; on the others its error is compared with the model's own, and it
is kept only if it costs at most `--most` millimetres. GPUs gain nothing from it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from synpose.cli.extras import needs_extra
from synpose.cli.settings import load_settings
from synpose.errors import InvalidInput

__all__ = ["EXAMPLE", "configure", "run"]

EXAMPLE = "synpose quantise default models/default-int8 --clips clips"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="name of a model")
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the new bundle; its name is the model's")
    parser.add_argument("--clips", type=Path, required=True, metavar="DIR", help="folder of `synpose render clips`")
    parser.add_argument(
        "--most",
        type=float,
        default=1.0,
        metavar="MM",
        help="what it may cost in the mean and in the median clip (1)",
    )


def run(args: argparse.Namespace) -> None:
    settings = load_settings()
    with needs_extra("server,cpu,train"):
        import onnx  # noqa: F401

        from synpose_server.quantise import quantise
        from synpose_server.rendered_clip import read_clips
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    with Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=None)
        told = quantise(
            args.model,
            args.folder,
            read_clips(args.clips),
            settings,
            args.most,
            lambda what, done, total: progress.update(task, description=what, completed=done, total=total),
        )
    for what, of in (("mean", statistics.mean), ("median", statistics.median)):
        before, after = of(told.before), of(told.after)
        print(f"{what} error over {len(told.before)} clips: {before:.2f} mm before, {after:.2f} mm in int8")
    print(f"CPU time of the spatial graph: {told.time:.2f} of that in float32, on this machine")
    if told.cost > args.most:
        raise InvalidInput(f"it costs {told.cost:.2f} mm, more than {args.most:g} mm: not kept", field="most")
    print(f"{args.folder}: kept")
