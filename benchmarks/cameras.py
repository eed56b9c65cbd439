"""Live cameras on a small machine: the frame-set rate that is held, and from capture to pose.

    python benchmarks/cameras.py
    python benchmarks/cameras.py --model fast --cameras 4 --fps 30 --seconds 10 --rounds 3

Four simulated cameras send 720p JPEG images over gRPC at 30 a second, each on its own and up to `--jitter` seconds
late: first in mode `latest`; then in mode `every`, at `--every` times the bare limit, since a backlog has no latency;
then in mode `every` as much as it takes. The bare limit is the same images decoded and the same inputs run through the
same graphs by ONNX Runtime in a tight loop with as many threads, nothing else. All alternate `--rounds` times; shares
of a round count.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from synpose.bench import Load, Workload
from synpose.bench.loopback import loopback
from synpose.bench.measured import percentile
from synpose.bench.streams import StreamReport, fill_streams, play_streams
from synpose.calibration import read_calibration
from synpose.client import AsyncClient
from synpose.live import StreamPolicy
from synpose.options import Options
from synpose_model.image import Image
from synpose_server.batcher import Arrays
from synpose_server.decode import read_image
from synpose_server.engine import Engine
from synpose_server.play import first_frame_sets
from synpose_server.settings import Settings
from synpose_server.track import Tracker

MODES = ("latest", "every", "filled")
CLIP = Path(__file__).parent.parent / "examples" / "balancing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fast")
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--width", type=int, default=720, help="of the upright images")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--jitter", type=float, default=0.01, help="seconds that an image is late at most")
    parser.add_argument("--every", type=float, default=0.7, help="share of the bare limit offered in mode every")
    parser.add_argument("--seconds", type=float, default=10, help="of each part of a round")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    work = workload(args.cameras, args.width, args.model)
    bare = Bare(work)
    with loopback() as server:
        asyncio.run(measure(server.grpc, work, bare, args))


def workload(cameras: int, width: int, model: str, count: int = 30) -> Workload:
    """The first frame sets of the clip."""
    videos = {video.stem: video for video in sorted(CLIP.glob("*.mp4"))[:cameras]}
    rig, sets = first_frame_sets(read_calibration(CLIP / "Calib.qca.txt"), videos, Settings(), count, width)
    return Workload(rig, sets, Options(model=model))


class Bare:
    """The bare work of one frame set after another: decoding, and the crops and graph inputs that the server makes.

    What the graphs are given is recorded once, from the server's own tracker; then only ONNX Runtime runs.
    """

    def __init__(self, work: Workload) -> None:
        engine = Engine(Settings(), only=work.options.model)
        self.model, self.work = engine.model(work.options.model), work
        self.threads = engine.settings.graph_threads
        self.pool = ThreadPoolExecutor(self.threads)
        calls: list[list[tuple[str, Arrays]]] = []
        run = self.model._run

        def record(kind: str, **inputs: NDArray[Any]) -> Arrays:
            calls[-1].append((kind, inputs))
            return run(kind, **inputs)

        self.model._run = record  # type: ignore[method-assign]
        tracker = Tracker(self.model, work.rig, work.options.max_people)
        for images in work.frame_sets:
            calls.append([])
            tracker.step(self.decode(images))
        del self.model._run
        self.first, *self.calls = calls  # the first one searches for people, once a stream

    def decode(self, images: Mapping[str, bytes]) -> list[Image | None]:
        return list(self.pool.map(lambda item: read_image(item[0], item[1], 40_000_000), images.items()))

    def rate(self, seconds: float) -> float:
        """Frame sets a second."""
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            for images, calls in zip(self.work.frame_sets[1:], self.calls, strict=True):
                self.decode(images)
                for kind, inputs in calls:
                    self.model.graphs[kind].graph.run(dict(inputs))
                done += 1
        return done / (time.perf_counter() - start)


async def measure(url: str, work: Workload, bare: Bare, args: argparse.Namespace) -> None:
    shares: dict[str, list[float]] = {mode: [] for mode in MODES}
    every: dict[str, list[tuple[float, float]]] = {mode: [] for mode in MODES}
    async with AsyncClient(url) as client:
        await play_streams(client, work, Load(1), 1, StreamPolicy(cameras=work.cameras))  # warm
        for _ in range(args.rounds):
            limit = bare.rate(args.seconds / 2)
            for mode in MODES:
                fps = args.fps if mode == "latest" else min(args.fps, args.every * limit)
                offered = Workload(work.rig, work.frame_sets, work.options, fps, args.jitter)
                kept = "latest" if mode == "latest" else "every"
                policy = StreamPolicy.from_mapping({"mode": kept, "cameras": work.cameras})
                load = fill_streams if mode == "filled" else play_streams
                done = await load(client, offered, Load(args.seconds), 1, policy)
                held = done.report.throughput
                shares[mode].append(held / limit)
                every[mode].append((percentile(done.report.latencies, 50), percentile(done.report.latencies, 99)))
                tell(mode, fps, held, limit, done)
    for mode, values in shares.items():
        half, most = (statistics.median(pair[k] for pair in every[mode]) for k in (0, 1))
        print(f"{mode}: {statistics.median(values):.2f} of the bare limit ({listed(values)})", end="; ")
        print(f"capture to pose p50 {half * 1e3:.0f} ms, p99 {most * 1e3:.0f} ms")


def tell(mode: str, fps: float, held: float, limit: float, done: StreamReport) -> None:
    cuts = [percentile(done.report.latencies, percent) * 1e3 for percent in (50, 99)]
    told = "as it takes" if mode == "filled" else f"{fps:.1f} offered"
    print(f"{mode}: {told}, {held:.1f} held, bare {limit:.1f} frame sets/s", end="; ")
    print(f"p50 {cuts[0]:.0f} ms, p99 {cuts[1]:.0f} ms; {done.report.statuses}", flush=True)


def listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


if __name__ == "__main__":
    main()
