"""Play videos to a server in real time, as if they were live cameras.

A video's name without suffix is the name of its camera in the calibration. Tells what came back and how long after it
was sent, and how late that was where decoding and compressing the videos is slower than they are; --output keeps the
poses.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from synpose.cli import server
from synpose.cli.clip import add_arguments, read_clip
from synpose.cli.extras import needs_extra
from synpose.cli.output import whole_file
from synpose.cli.settings import load_settings
from synpose.errors import OptionsError
from synpose.formats import ndjson
from synpose.formats.json import DECIMALS
from synpose.live import StreamPolicy

__all__ = ["EXAMPLE", "configure", "run"]

_LATE = 0.1  # seconds

EXAMPLE = "synpose stream --calibration Calib.qca.txt --server grpc://127.0.0.1:8001 cam01.mp4 cam02.mp4 cam03.mp4"


def configure(parser: argparse.ArgumentParser) -> None:
    add_arguments(parser)
    server.add_arguments(parser, "play them to this server", required=True)
    parser.add_argument("--mode", choices=("latest", "every"), default="latest", help="what to compute (latest)")
    parser.add_argument("--look-ahead", type=int, default=0, metavar="N", help="frame sets to wait for (0)")
    parser.add_argument("--skeleton", metavar="NAME", help="joints to give: coco17, h36m17, halpe26 or body27 (coco17)")
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
        from synpose_server.synchronise import FrameSets

    policy = StreamPolicy(mode=args.mode, look_ahead=args.look_ahead, cameras=tuple(sources))
    options = clip.options
    sent: dict[float, float] = {}  # by time of capture, as JSON tells it
    delays: list[float] = []
    with ExitStack() as stack:
        write = stack.enter_context(whole_file(args.output)) if args.output is not None else None
        client = stack.enter_context(server.connect(args))
        frame_sets = stack.enter_context(
            closing(FrameSets(sources, settings.max_pixels, options.fps, offsets=options.offsets))
        )
        stream = stack.enter_context(
            client.live(
                clip.rig,
                policy,
                model=options.model,
                skeleton=options.skeleton,
                max_people=options.max_people,
                fps=frame_sets.fps,
            )
        )
        if write is not None:
            write(ndjson.encode_header(stream.header))
        for pose in stream.follow(_noted(play(frame_sets), sent)):
            delays.append(time.time() - sent[round(pose.frame.timestamp, DECIMALS)])
            if write is not None:
                write(ndjson.encode_frame(pose.frame))
        counters = stream.counters
    print(f"{counters.frame_sets} frame sets, {len(delays)} answered, {counters.dropped} dropped", end="")
    if len(delays) > 1:
        cuts = statistics.quantiles(delays, n=100, method="inclusive")
        print(f"; from sending to pose {cuts[49] * 1e3:.0f} ms, 99 % within {cuts[98] * 1e3:.0f} ms", end="")
    print()
    if (late := max((at - due for due, at in sent.items()), default=0.0)) > _LATE:
        print(f"decoding and compressing the videos here could not keep up: images were sent up to {late:.1f} s late")


def _noted(
    played: Iterable[tuple[float, dict[str, bytes]]], sent: dict[float, float]
) -> Iterator[tuple[float, dict[str, bytes]]]:
    """What is `played`; when each was sent is written into `sent`."""
    for due, images in played:
        sent[round(due, DECIMALS)] = time.time()
        yield due, images
