"""How soon a server refuses that is asked for more than it can do, where the models themselves take no CPU time.

    python benchmarks/refusals.py

As benchmarks/overload.py, but an estimate only waits `--work` seconds, give or take a fifth, so that what is measured
is the doors and admission, not the cores that models and load fight for. By the load, from when a request was due, and
in the server's log, from a request's head to the end of its answer.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

import uvloop
from cameras import workload
from null_model import Null, NullEngine
from overload import refused, times

from synpose.bench import DOORS, Load, closed_loop, open_loop
from synpose.options import Options
from synpose.pose import Frame
from synpose.rig import Rig
from synpose_server import logs
from synpose_server.engine import Estimation
from synpose_server.job import Job
from synpose_server.pace import Place
from synpose_server.serve import serve
from synpose_server.sources import Source


class WaitingEngine(NullEngine):
    """The answer of `NullEngine`, after a while."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def estimate(
        self,
        rig: Rig,
        sources: Mapping[str, Source],
        options: Options,
        timestamps: Sequence[float] | None = None,
        place: Place | None = None,
        told: bool = True,
    ) -> Estimation:
        return _Waiting(rig, self.seconds, place or Place(Job(), len(sources)))


class _Waiting(Null):
    def __init__(self, rig: Rig, seconds: float, place: Place) -> None:
        super().__init__(rig)
        self._seconds, self._place = seconds, place
        place.begin()

    def __next__(self) -> Frame:
        frame = super().__next__()
        self._place.job.check()
        time.sleep(self._seconds * random.uniform(0.8, 1.2))
        self._place.end()
        return frame


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=float, default=0.1, help="seconds of an estimate; two run at a time")
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--width", type=int, default=180)
    parser.add_argument("--load", type=float, default=1.7, help="times the capacity")
    parser.add_argument("--deadline", type=float, default=0.3, help="seconds")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        logs.set_up("json", "info")
        engine = WaitingEngine(args.work)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(engine.settings, engine, lambda line: print(line, flush=True)))
        return
    for door in DOORS:
        with tempfile.TemporaryFile("w+") as log:
            command = [sys.executable, __file__, "--serve", "--work", str(args.work)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
                assert process.stdout is not None
                http, rpc = (process.stdout.readline().split()[-1] for _ in range(2))
                try:
                    asyncio.run(measure(door, http if door == "http" else f"grpc://{rpc}", args))
                finally:
                    process.terminate()
            print(f"{door}: refusals in the server's log {times(refused(log, 'overloaded'))}", flush=True)


async def measure(name: str, url: str, args: argparse.Namespace) -> None:
    work = workload(args.cameras, args.width, "null", count=2)
    async with DOORS[name](url, work, None) as door:
        capacity = (await closed_loop(door, work, Load(args.seconds / 2), 2)).throughput
        report = await open_loop(door, work, Load(args.seconds, deadline=args.deadline), args.load * capacity)
    print(
        f"{name}: capacity {capacity:.1f}/s, goodput {report.goodput / capacity:.2f} of it, {report.statuses}", end="; "
    )
    print(f"{report.late} late; refusals by the load {times(report.refusals)}", flush=True)


if __name__ == "__main__":
    main()
