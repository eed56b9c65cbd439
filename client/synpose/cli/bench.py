"""Put load on a server and tell what it answered in time.

Frame sets of the videos (of the example clip in a checkout, if none are given) are sent to one door of a server, or of
one that is started for it: by so many --clients, each with one request under way (a closed loop), or at a --rate (an
open loop). Over the stream door --clients are rigs of simulated cameras: in an open loop they play at --fps, with
--jitter and --drop; in a closed loop each keeps two frame sets under way. Goodput is answers within the --deadline.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from synpose.cli import server
from synpose.cli.clip import read_clip
from synpose.cli.extras import needs_extra
from synpose.cli.output import whole_file
from synpose.cli.settings import load_settings
from synpose.errors import OptionsError, SynposeError

__all__ = ["EXAMPLE", "configure", "run"]

EXAMPLE = "synpose bench --door grpc --rate 20 --deadline 0.3 --seconds 30"

_EXAMPLE_CLIP = Path(__file__).parents[3] / "examples" / "balancing"
_PORTS = {"http": ("http", "https"), "grpc": ("grpc", "grpcs"), "stream": ("http", "https", "grpc", "grpcs")}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("videos", nargs="*", type=Path, metavar="VIDEO", help="video, or folder of numbered images")
    parser.add_argument("--calibration", type=Path, metavar="FILE", help="calibration of the cameras")
    parser.add_argument("--units", choices=("m", "cm", "mm"), help="unit of a calibration that does not state its own")
    parser.add_argument("--model", metavar="NAME", help="model to use (default; see `synpose models`)")
    server.add_arguments(parser, "put the load on this server; none: on one that is started for it")
    parser.add_argument("--door", choices=tuple(_PORTS), help="http, grpc or stream (that of --server, or http)")
    parser.add_argument("--clients", type=int, metavar="N", help="of a closed loop, or streams (2)")
    parser.add_argument("--rate", type=float, metavar="R", help="frame sets a second: an open loop; streams: use --fps")
    parser.add_argument("--arrivals", choices=("poisson", "constant"), default="poisson", help="in an open loop")
    parser.add_argument("--cameras", type=int, metavar="N", help="how many of the cameras send (all)")
    parser.add_argument("--width", type=int, metavar="PX", help="scale the images to this width")
    parser.add_argument("--frame-sets", type=int, default=16, metavar="N", help="different ones that are sent (16)")
    parser.add_argument("--fps", type=float, metavar="F", help="play streams at this rate: an open loop")
    parser.add_argument("--jitter", type=float, default=0.0, metavar="S", help="seconds an image is late at most (0)")
    parser.add_argument("--drop", type=float, default=0.0, metavar="P", help="probability that an image is lost (0)")
    parser.add_argument("--mode", choices=("latest", "every"), help="of streams (latest for --fps, else every)")
    parser.add_argument("--deadline", type=float, metavar="S", help="seconds until an answer is too late; sent along")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="how long (10)")
    parser.add_argument("--count", type=int, metavar="N", help="frame sets at most (of each stream)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="file to write the figures to, .json; - is stdout")


def run(args: argparse.Namespace) -> None:
    with needs_extra("server"):
        import cv2  # noqa: F401
    from rich.console import Console

    _check(args)
    server.read_credentials(args)  # what is wrong with them is told before a server is started
    workload = _workload(args)
    with _server(args) as url:
        record = {"door": _door(args), "server": url, **asyncio.run(_measure(args, workload, url))}
    if args.output == Path("-"):
        print(json.dumps(record, indent=2))
        return
    if args.output is not None:
        with whole_file(args.output) as write:
            write(json.dumps(record, indent=2).encode() + b"\n")
    Console().print(_table(record))


def _check(args: argparse.Namespace) -> None:
    """Raise `OptionsError` for arguments that do not go together."""
    scheme, door = (args.server or "").partition("://")[0], _door(args)
    if args.server is not None and scheme not in _PORTS[door]:
        raise OptionsError(f"--server: the door {door} is reached by {' or '.join(_PORTS[door])}", field="server")
    if args.fps is not None and door != "stream":
        raise OptionsError("--fps plays streams: it goes with --door stream", field="fps")
    if args.rate is not None and door == "stream":
        raise OptionsError("streams send at --fps, not at --rate", field="rate")
    if args.rate is not None and args.clients is not None:
        raise OptionsError("--rate is an open loop, --clients a closed one: give one of them", field="clients")
    if bool(args.videos) != (args.calibration is not None):
        raise OptionsError("videos and --calibration go together", field="calibration")
    for name in ("clients", "rate", "cameras", "width", "frame_sets", "fps", "deadline", "seconds", "count"):
        if getattr(args, name) is not None and not getattr(args, name) > 0:
            raise OptionsError(f"--{name.replace('_', '-')} must be above 0", field=name)
    if args.output is not None and args.output != Path("-") and args.output.suffix != ".json":
        raise OptionsError("--output: figures are written as .json", field="output")


def _door(args: argparse.Namespace) -> str:
    return args.door or ("grpc" if (args.server or "").startswith("grpc") else "http")


def _workload(args: argparse.Namespace) -> Any:
    """The first frame sets of the clip, as JPEG."""
    from synpose.bench import Workload
    from synpose_server.play import first_frame_sets

    if not args.videos:
        args.videos, args.calibration = sorted(_EXAMPLE_CLIP.glob("*.mp4")), _EXAMPLE_CLIP / "Calib.qca.txt"
        if not args.videos:
            raise OptionsError("the example clip lies in a checkout only; name videos and --calibration", field="video")
    args.videos = args.videos[: args.cameras]
    settings, clip = load_settings(), read_clip(args)
    rig, frame_sets = first_frame_sets(clip.rig, clip.sources(settings), settings, args.frame_sets, args.width)
    frame_sets = [images for images in frame_sets if images]
    return Workload(rig, frame_sets, clip.options, args.fps or 30.0, args.jitter, args.drop)


@contextmanager
def _server(args: argparse.Namespace) -> Iterator[str]:
    """The address of the door."""
    if args.server is not None:
        yield args.server
        return
    from synpose.bench.loopback import loopback

    with loopback() as own:
        yield own.http if _door(args) == "http" else own.grpc


async def _measure(args: argparse.Namespace, workload: Any, url: str) -> dict[str, Any]:
    from synpose.bench import DOORS, Load, closed_loop, open_loop
    from synpose.bench.streams import fill_streams, play_streams
    from synpose.client import AsyncClient
    from synpose.live import StreamPolicy

    load, clients = Load(args.seconds, args.count, args.deadline), args.clients or 2
    credentials = server.read_credentials(args)
    try:
        if _door(args) == "stream":
            playing = args.fps is not None
            mode = args.mode or ("latest" if playing else "every")
            given = {"mode": mode, "cameras": workload.cameras, "max_wait": max(0.1, args.jitter)}
            policy = StreamPolicy.from_mapping(given)
            async with AsyncClient(
                url, api_key=credentials.api_key, ca=credentials.ca, cert=credentials.cert
            ) as client:
                done = await (play_streams if playing else fill_streams)(client, workload, load, clients, policy)
            loop = f"{clients} streams " + (f"at {args.fps:g} a second" if playing else "kept filled") + f", {mode}"
            return {"loop": loop, **done.report.record(), "counters": asdict(done.counters), "restarts": done.restarts}
        async with DOORS[_door(args)](url, workload, credentials) as door:
            await door.ask(workload.frame_sets[0], None)  # connects
            if args.rate is not None:
                loop = f"{args.rate:g} a second, {args.arrivals}"
                return {"loop": loop, **(await open_loop(door, workload, load, args.rate, args.arrivals)).record()}
            report = await closed_loop(door, workload, load, clients)
            return {"loop": f"{clients} clients", **report.record()}
    except* SynposeError as group:
        raise _first(group) from None


def _first(group: BaseExceptionGroup[SynposeError]) -> SynposeError:
    """What went wrong first; the others of a load tell the same."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _table(record: Mapping[str, Any]) -> Any:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    rows = {
        "load": f"{record['loop']}, door {record['door']}, {record['seconds']:.1f} s",
        "sent": f"{record['sent']}: " + ", ".join(f"{n} {status}" for status, n in record["statuses"].items()),
        "throughput": f"{record['throughput']:.2f} frame sets/s",
    }
    if record["deadline_ms"] is not None:
        rows["goodput"] = f"{record['goodput']:.2f}/s within {record['deadline_ms']:.0f} ms; {record['late']} late"
    for name in ("latency", "refusal"):
        if (cuts := record[f"{name}_ms"]) is not None:
            rows[name] = ", ".join(f"{cut} {value:.1f}" for cut, value in cuts.items()) + " ms"
    if "counters" in record:
        counted = ", ".join(f"{value} {name}" for name, value in record["counters"].items() if value)
        rows["counted"] = f"{counted}; {record['restarts']} restarts"
    for name, value in rows.items():
        table.add_row(name, value)
    return table
