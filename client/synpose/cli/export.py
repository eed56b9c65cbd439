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

__all__ = ["EXAMPLE", "configure", "run", "sigma_scales"]

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
    parser.add_argument(
        "--sigma",
        type=Path,
        metavar="FILE",
        help="JSON of `synpose evaluate rendered` on this network without --sigma: makes its sigma hold there",
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
        sigma_scales=sigma_scales(args.sigma) if args.sigma else (),
        metrics=_json(args.metrics, "metrics") if args.metrics else None,
    )
    bundle = pack(args.checkpoint, args.folder, recipe, data=args.data)
    size = sum(path.stat().st_size for path in bundle.graphs.values())
    print(f"{args.folder}: {bundle.name} {bundle.version}, {size / 1e6:.1f} MB in {len(bundle.graphs)} graphs")


def sigma_scales(path: Path) -> list[float]:
    """By number of cameras, from none on, what the one method of a report lacks for sigma to hold."""
    methods = _json(path, "sigma").get("methods", {})
    if len(methods) != 1:
        raise OptionsError(f"{path} is no report of one model but of {len(methods)}", field="sigma")
    (groups,) = (method["limb_joints"] for method in methods.values())
    told = {n: groups[f"{n} cameras"]["sigma_scale"] for n in range(1, 17) if f"{n} cameras" in groups}
    if not told:
        raise OptionsError(f"{path} has no clips", field="sigma")
    return [told[min(told, key=lambda n: abs(n - cameras))] for cameras in range(max(told) + 1)]


def _json(path: Path, field: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise OptionsError(f"{path} cannot be read as JSON: {error}", field=field) from error
    if not isinstance(content, dict):
        raise OptionsError(f"{path} holds no JSON object", field=field)
    return content
