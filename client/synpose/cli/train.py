"""Train a network as a config says; the same command again goes on where a killed run stopped.

The folder of the run gets last.pt and best.pt, train.csv and validation.csv, and TensorBoard's files where that is
installed. Under torchrun each process computes on a GPU of its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from synpose.cli.extras import needs_extra
from synpose.errors import OptionsError

__all__ = ["EXAMPLE", "configure", "run"]

EXAMPLE = "synpose train relation.toml --out runs/relation --data data"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="TOML file of the run (docs/training.md)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (runs/ and the config's name)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the training data, if the task needs one")
    parser.add_argument("--steps", type=int, metavar="N", help="updates in all, in the place of schedule.steps")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with the run in DIR, even if the config changed")
    again.add_argument("--fresh", action="store_true", help="begin anew and throw away the run in DIR")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (auto)")
    parser.add_argument("--init", type=Path, metavar="CHECKPOINT", help="begin with this checkpoint's weights")


def run(args: argparse.Namespace) -> None:
    if args.data is not None and not args.data.is_dir():
        raise OptionsError(f"there is no folder {args.data}", field="data")
    with needs_extra("train"):
        from synpose_model.training.config import load_config
        from synpose_model.training.loop import Start, train
    config = load_config(args.config, steps=args.steps)
    out = args.out or Path("runs") / config.run.name
    start: Start = "resume" if args.resume else "fresh" if args.fresh else "auto"
    print(train(config, out, data=args.data, device=args.device, start=start, init=args.init))
