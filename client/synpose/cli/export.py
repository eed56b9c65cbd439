"""Make a bundle that `synpose serve --models` can serve from a checkpoint of `synpose train`.

The graphs are checked against the network; weights are stored as float16.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from synpose.cli.extras import needs_extra
from synpose.errors import OptionsError

__all__ = ["EXAMPLE", "configure", "run"]

EXAMPLE = "synpose export runs/relation/best.pt models/mine --spatial runs/spatial/best.pt --look-ahead 8"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="of a relation network (task rays)")
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the bundle; its name is the model's")
    parser.add_argument(
        "--spatial", default="accurate", metavar="NAME", help="checkpoint of the task spatial, or a bundle (accurate)"
    )
    parser.add_argument(
        "--look-ahead", type=int, default=0, metavar="N", help="later frames that a clip's answer may use (0)"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the training's data folder: sigma is fitted on its validation part"
    )
    parser.add_argument("--metrics", type=Path, metavar="FILE", help="JSON object of what was measured, for the card")
    parser.add_argument("--version", default="0.1.0", metavar="V", help="of the bundle (0.1.0)")
    parser.add_argument("--description", default="", metavar="TEXT", help="one line for people who choose a model")


def run(args: argparse.Namespace) -> None:
    if not args.checkpoint.is_file():
        raise OptionsError(f"there is no file {args.checkpoint}", field="checkpoint")
    with needs_extra("train,cpu"):
        from synpose_model.pack import Recipe, pack
    recipe = Recipe(
        spatial=args.spatial,
        look_ahead=args.look_ahead,
        version=args.version,
        description=args.description,
        metrics=_metrics(args.metrics) if args.metrics else None,
    )
    bundle = pack(args.checkpoint, args.folder, recipe, data=args.data)
    size = sum(path.stat().st_size for path in bundle.graphs.values())
    print(f"{args.folder}: {bundle.name} {bundle.version}, {size / 1e6:.1f} MB in {len(bundle.graphs)} graphs")


def _metrics(path: Path) -> dict[str, Any]:
    try:
        metrics = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise OptionsError(f"{path} cannot be read as JSON: {error}", field="metrics") from error
    if not isinstance(metrics, dict):
        raise OptionsError(f"{path} holds no JSON object", field="metrics")
    return metrics
