"""Play videos to a server in real time, as if they were live cameras.

A video's name without suffix is the name of its camera in the calibration. Tells what came back, and how long after its
capture; --output keeps the poses.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

from synpose.cli.clip import add_arguments, read_clip
from synpose.cli.extras import needs_extra
from synpose.cli.output import whole_file
from synpose.cli.settings import load_settings
from synpose.errors import OptionsError
from synpose.formats import ndjson
from synpose.live import StreamPolicy

__all__ = ["EXAMPLE", "configure", "run"]

EXAMPLE = "synpose stream --calibration Calib.qca.txt --server grpc://127.0.0.1:8001 cam01.mp4 cam02.mp4 cam03.mp4"


def configure(parser: argparse.ArgumentParser) -> None:
    add_arguments(parser)
    parser.add_argument("--server", required=True, metavar="URL", help="http://... or grpc://...")
    parser.add_argument("--mode", choices=("latest", "every"), default="latest", help="what to compute (latest)")
    parser.add_argument("--look-ahead", type=int, default=0, metavar="N", help="frame sets to wait for (0)")
    parser.add_argument("--skeleton", metavar="NAME", help="joints to give: coco17, h36m17 or halpe26 (coco17)")
    parser.add_argument("--max-people", type=int, metavar="N", help="people to follow, 1 to 8 (1)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="file to write, .ndjson")


def run(args: argparse.Namespace) -> None:
    if args.output is not None and args.output.suffix != ".ndjson":
        raise OptionsError("a stream is written as .ndjson", field="output")
    clip = read_clip(args)
    settings = load_settings()
    sources = clip.sources(settings)
    with needs_extra("server"):
        from synpose_server.play import play
    from synpose.client import Client

    policy = StreamPolicy(mode=args.mode, look_ahead=args.look_ahead, cameras=tuple(sources))
    options = clip.options
    delays: list[float] = []
    with ExitStack() as stack:
        write = stack.enter_context(whole_file(args.output)) if args.output is not None else None
        client = stack.enter_context(Client(args.server))
        stream = stack.enter_context(
            client.live(
                clip.rig,
                policy,
                model=options.model,
                skeleton=options.skeleton,
                max_people=options.max_people,
                fps=options.fps,
            )
        )
        if write is not None:
            write(ndjson.encode_header(stream.header))
        for pose in stream.follow(play(sources, settings, options.fps)):
            delays.append(time.time() - pose.frame.timestamp)
            if write is not None:
                write(ndjson.encode_frame(pose.frame))
        counters = stream.counters
    print(f"{counters.frame_sets} frame sets, {len(delays)} answered, {counters.dropped} dropped", end="")
    if len(delays) > 1:
        cuts = statistics.quantiles(delays, n=100, method="inclusive")
        print(f"; from capture to pose {cuts[49] * 1e3:.0f} ms, 99 % within {cuts[98] * 1e3:.0f} ms", end="")
    print()
