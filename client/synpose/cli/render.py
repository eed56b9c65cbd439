"""Draw synthetic people in motion: clips to measure on, images to train on, or what a network sees, to look at.

`clips` writes videos, calibration and exact joints; `training` fills a data folder for `synpose train` (images as maps
of the frozen trunks, and poses), going on where it was stopped; `errors` records what a spatial network gets wrong,
`sightings` all that it says; `sheet` makes a picture of the crops of a data folder with their true joints.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from synpose.cli.extras import needs_extra
from synpose.cli.settings import load_settings
from synpose.errors import OptionsError

__all__ = ["EXAMPLE", "configure", "run"]

EXAMPLE = """synpose render clips --motions bvh --out clips --count 24 --seed 7
  synpose render training --motions bvh --out data --stills 1000 --sequences 80
  synpose render errors --data data --spatial runs/spatial/best.pt
  synpose render sheet --data data --out sheet.png"""

_CROWDS = 0.3  # of the stills


def configure(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(title="what to draw", metavar="WHAT", required=True, dest="what")

    clips = kinds.add_parser("clips", help="videos with calibration and exact joints", allow_abbrev=False)
    training = kinds.add_parser("training", help="images and poses to train on", allow_abbrev=False)
    for sub in (clips, training):
        sub.add_argument(
            "--motions", type=Path, required=True, metavar="DIR", help="folder of BVH files, searched deep"
        )
        sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the clips go")
        sub.add_argument("--seed", type=int, default=0, metavar="S", help="the same seed draws the same")
        sub.add_argument(
            "--environments", type=Path, metavar="DIR", help="folder of .exr (or .exr.js) environment maps"
        )
    clips.add_argument("--split", choices=("train", "validation", "test"), help="only motions of these subjects")
    clips.add_argument("--count", type=int, default=10, metavar="N", help="how many clips (10)")
    clips.add_argument(
        "--people", type=int, default=1, choices=range(1, 9), metavar="N", help="people in each clip, 1 to 8 (1)"
    )
    clips.add_argument("--alone", action="store_true", help="draw each person of a clip once more without the others")
    clips.add_argument("--first", type=int, default=0, metavar="I", help="the first clip's number (0)")
    clips.add_argument("--draw-truth", action="store_true", help="draw the true joints on the contact sheets")
    training.add_argument("--stills", type=int, default=1000, metavar="N", help="clips with 8 frames each (1000)")
    training.add_argument("--sequences", type=int, default=80, metavar="N", help="clips with all frames (80)")
    training.add_argument("--bodies", type=int, default=6, metavar="N", help="bodies for each motion's poses (6)")

    errors = kinds.add_parser("errors", help="what a spatial network gets wrong on the sequences", allow_abbrev=False)
    sightings = kinds.add_parser("sightings", help="rays and tokens of a spatial network", allow_abbrev=False)
    for sub in (errors, sightings):
        sub.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder that `training` filled")
        sub.add_argument(
            "--spatial", required=True, metavar="NAME", help="thunder, lightning, or a checkpoint of the task spatial"
        )
        sub.add_argument("--out", type=Path, metavar="DIR", help="where to write, if not to DIR of --data")
    served = kinds.add_parser(
        "served", help="crops as a server reads them, what it expected and what it saw", allow_abbrev=False
    )
    served.add_argument("--clips", type=Path, required=True, metavar="DIR", help="folder that `clips` filled")
    served.add_argument("--model", required=True, metavar="NAME", help="the bundle that reads them")
    served.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder that `training` filled")
    served.add_argument("--every", type=int, default=3, metavar="N", help="record every N-th frame set (3)")
    served.add_argument("--seed", type=int, default=0, metavar="S", help="which cameras, of clips of one person")
    sheet = kinds.add_parser("sheet", help="a picture of crops with their true joints", allow_abbrev=False)
    sheet.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder that `training` filled")
    sheet.add_argument("--out", type=Path, required=True, metavar="FILE", help="picture to write")
    sheet.add_argument("--seed", type=int, default=0, metavar="S", help="which crops")


def run(args: argparse.Namespace) -> None:
    with needs_extra("train,render,cpu"):
        kinds = {
            "clips": _clips, "training": _training, "errors": _errors, "sightings": _sightings,
            "served": _served, "sheet": _sheet,
        }  # fmt: skip
        kinds[args.what](args)


def _clips(args: argparse.Namespace) -> None:
    from synpose_model.render.clips import write_clips

    with _progress("clips") as advance:
        write_clips(
            args.motions, args.out, count=args.count, first=args.first, seed=args.seed, environments=args.environments,
            split=args.split, people=args.people, alone=args.alone, draw_truth=args.draw_truth, progress=advance,
        )  # fmt: skip


def _training(args: argparse.Namespace) -> None:
    from synpose_model.data.draw import draw
    from synpose_model.data.poses import write_poses

    for split, bodies in (("validation", 3), ("train", args.bodies)):
        path = args.out / f"poses_{split}.npz"
        if not path.exists():
            with _progress(f"poses to {split} on") as advance:
                write_poses(args.motions, path, split=split, bodies=bodies, seed=args.seed, progress=advance)
    for name, split, count, frames in (
        ("val_stills", "validation", max(1, args.stills // 40), 6),
        ("val_sequences", "validation", max(1, args.sequences // 8), None),
        ("sequences", "train", args.sequences, None),
        ("stills", "train", args.stills, 8),
    ):
        with _progress(name) as advance:
            draw(
                args.motions, args.out / name, split=split, count=count, seed=args.seed,
                environments=args.environments, frames=frames, crowds=_CROWDS, progress=advance,
            )  # fmt: skip


def _errors(args: argparse.Namespace) -> None:
    from synpose_model.data.record import record_errors

    for name, split in (("val_sequences", "validation"), ("sequences", "train")):
        with _progress(f"errors to {split} on") as advance:
            errors = record_errors(args.spatial, args.data / name, advance)
        path = (args.out or args.data) / f"errors_{split}.npz"
        errors.save(path)
        print(f"{path}: {errors.summary()}")


def _sightings(args: argparse.Namespace) -> None:
    from synpose_model.data.record import record_sightings
    from synpose_model.data.sightings import save_sightings

    for name, split in (("val_sequences", "validation"), ("sequences", "train")):
        with _progress(f"sightings to {split} on") as advance:
            sightings = record_sightings(args.spatial, args.data / name, advance)
        path = (args.out or args.data) / f"sightings_{split}.npz"
        save_sightings(path, sightings)
        print(f"{path}: {len(sightings)} clips")


def _served(args: argparse.Namespace) -> None:
    import numpy as np

    from synpose_model.data.rendered import write_clip
    from synpose_model.data.sightings import SERVED, Sighting, save_sightings
    from synpose_model.data.trunk import Trunk
    from synpose_server.engine import Engine
    from synpose_server.record_served import record_served
    from synpose_server.rendered_clip import read_clips

    clips = read_clips(args.clips)
    model = Engine(load_settings(), only=args.model).model(args.model)
    trunks = {variant: Trunk(variant) for variant in ("thunder", "lightning")}
    sides = {variant: trunk.side for variant, trunk in trunks.items()}
    rng, out, count = np.random.default_rng(args.seed), args.data / "served", 0
    sightings: list[Sighting] = []
    with _progress("clips") as advance:
        for clip in clips:
            for served in record_served(model, clip, sides, every=args.every, rng=rng):
                write_clip(
                    out / served.name, trunks, served.crops, rig=served.rig, fps=clip.fps, motion=clip.motion,
                    joints=served.joints, ahead=served.ahead, **served.labels,
                )  # fmt: skip
                count += served.count
                sightings += served.sightings
            advance(len(clips))
    print(f"{out}: {count} crops of {len(clips)} clips")
    save_sightings(args.data / SERVED, sightings)
    print(f"{args.data / SERVED}: {sum(len(s.joints) for s in sightings)} frame sets")


def _sheet(args: argparse.Namespace) -> None:
    from synpose_model.data.sheet import write_sheet

    if not args.data.is_dir():
        raise OptionsError(f"there is no folder {args.data}", field="data")
    write_sheet(args.data, args.out, seed=args.seed)
    print(args.out)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; calling what it gives with the total tells that one more is done."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda total: bar.update(task, advance=1, total=total)
