"""Compare a relation network with robust triangulation on simulated rays of held-out subjects.

Poses and errors are those of the validation part of a training's data, bodies and rigs are random: 96 windows for each
number of cameras, the same ones every time. Errors are those of the limb joints in the middle of a window, in mm; with
one camera about the pelvis, since distance is a guess.
"""

from __future__ import annotations

import argparse
import json
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.table import Table

from synpose.cli.extras import needs_extra
from synpose.cli.output import whole_file
from synpose.errors import OptionsError

__all__ = ["EXAMPLE", "configure", "run"]

EXAMPLE = "synpose evaluate rays runs/rays/last.pt --data data"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="of a relation network")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the training's data")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured")


def run(args: argparse.Namespace) -> None:
    if not args.checkpoint.is_file():
        raise OptionsError(f"there is no file {args.checkpoint}", field="checkpoint")
    if not args.data.is_dir():
        raise OptionsError(f"there is no folder {args.data}", field="data")
    with needs_extra("train"):
        from synpose_model.training.evaluate import evaluate_rays
    with whole_file(args.json) if args.json else nullcontext() as write:
        measured = evaluate_rays(args.checkpoint, args.data)
        if write:
            write((json.dumps(measured, indent=1) + "\n").encode())
    table = Table("cameras", "error, mm", "robust triangulation, mm", "ratio", "within one sigma", box=None)
    for name, error in measured.items():
        what, _, cameras = name.partition("_")
        if what != "mm" or not cameras:
            continue
        robust, within = measured.get(f"robust_{cameras}"), measured.get(f"within_{cameras}")
        table.add_row(
            cameras,
            f"{error:.1f}",
            "" if robust is None else f"{robust:.1f}",
            "" if robust is None else f"{error / robust:.2f}",
            "" if within is None else f"{within:.0%}",
        )
    Console(highlight=False).print(table)
