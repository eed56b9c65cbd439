"""What a request costs besides its models: CPU time and memory of a server whose engine answers at once.

    python benchmarks/null_model.py

Small frame sets (JPEG images of `--width`) go through the doors; the engine decodes and computes nothing and answers
one person. CPU time is that of the server's process, user and system, by request; memory is resident.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import uvloop
from cameras import workload

from synpose.bench import DOORS, Load, closed_loop
from synpose.options import Options
from synpose.pose import Frame, ModelInfo, Person, PoseHeader, ServedModel
from synpose.rig import Rig
from synpose.skeleton import COCO17
from synpose_server.engine import Engine, Estimation
from synpose_server.pace import Place
from synpose_server.serve import serve
from synpose_server.settings import Settings
from synpose_server.sources import Source
from synpose_server.stats import Stats


class NullEngine(Engine):
    """One frame with one person, whatever is asked."""

    def __init__(self) -> None:
        self.settings, self.stats = Settings(http_port=0, grpc_port=0, max_uploads=64), Stats()

    @property
    def models(self) -> tuple[ServedModel, ...]:
        return (ServedModel("null", "1", "Nothing", ("coco17",), True),)

    def name_of(self, model: str) -> str:
        return "null"

    def estimate(
        self,
        rig: Rig,
        sources: Mapping[str, Source],
        options: Options,
        timestamps: Sequence[float] | None = None,
        place: Place | None = None,
        told: bool = True,
    ) -> Estimation:
        return Null(rig)


class Null(Estimation):
    """Holds its one frame from the start."""

    def __init__(self, rig: Rig) -> None:
        self.header = PoseHeader(ModelInfo("null", "1"), COCO17, 30.0)
        person = Person(0, 1.0, np.ones((17, 3)), np.full(17, 0.01), rig.names)
        self._left = [Frame(0, 0.0, (person,), ())]

    def __next__(self) -> Frame:
        if not self._left:
            raise StopIteration
        return self._left.pop()

    def close(self) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--width", type=int, default=180)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        engine = NullEngine()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as `synpose serve` does
            runner.run(serve(engine.settings, engine, lambda line: print(line, flush=True)))
        return
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        http, rpc = (process.stdout.readline().split()[-1] for _ in range(2))
        try:
            asyncio.run(measure({"http": http, "grpc": f"grpc://{rpc}"}, process.pid, args))
        finally:
            process.terminate()


async def measure(urls: Mapping[str, str], pid: int, args: argparse.Namespace) -> None:
    work = workload(args.cameras, args.width, "null", count=2)
    for name, url in urls.items():
        async with DOORS[name](url, work, None) as door:
            await closed_loop(door, work, Load(1), args.clients)  # warm
            costs, rates = [], []
            for _ in range(args.rounds):
                before = cpu(pid)
                report = await closed_loop(door, work, Load(args.seconds), args.clients)
                costs.append((cpu(pid) - before) / len(report.answers) * 1e3)
                rates.append(report.throughput)
        each = ", ".join(f"{cost:.2f}" for cost in costs)
        print(f"{name}: {sorted(costs)[len(costs) // 2]:.2f} ms CPU a request ({each})", end="")
        print(f", {sorted(rates)[len(rates) // 2]:.0f} a second, {memory(pid):.0f} MiB", flush=True)


def cpu(pid: int) -> float:
    """Seconds of CPU time, user and system, that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


if __name__ == "__main__":
    main()
