"""Frame sets a second through each door, as a share of the bare work, and beside other servers.

    python benchmarks/throughput.py
    python benchmarks/throughput.py --litserve /tmp/lit/bin/python --pytriton /tmp/tri/bin/python

The bare work is the JPEG decoding and the ONNX Runtime runs that one frame set takes (recorded from the server's own
tracker: same crops, same threads), in a tight loop (peers/work.py). A unary frame set also searches for its people; one
of a stream follows them. `--litserve` and `--pytriton` are pythons of environments that have these and numpy,
onnxruntime and simplejpeg; they serve the bare work of a unary frame set from the same images, without cropping,
associating and lifting. Per round and number of clients everything runs once, each for `--seconds`, in an order that
turns, and the bare work before and after each: shares of that, and their medians, are what means anything on a busy
machine. Other work on the machine takes from all of them, and not evenly: what it leaves alone is the CPU time a frame
set, of the bare work over the server's (all processes of a server; the load's own is not in it, though it takes
from the same cores).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from cameras import Bare, workload
from null_model import cpu
from peers.work import Work

from synpose.bench import DOORS, Load, Workload, closed_loop
from synpose.bench.loopback import Loopback, loopback
from synpose.bench.streams import fill_streams
from synpose.client import AsyncClient
from synpose.live import StreamPolicy

_FIND_SECONDS = 0.35  # a stream
PEERS = Path(__file__).parent / "peers"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fast")
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--width", type=int, default=540)
    parser.add_argument("--clients", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--litserve", metavar="PYTHON")
    parser.add_argument("--pytriton", metavar="PYTHON")
    parser.add_argument("--workers", type=int, default=1, help="of these two, among whom the threads are divided")
    args = parser.parse_args()
    work = workload(args.cameras, args.width, args.model, count=8)
    with ExitStack() as stack:
        unary, stream = (Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2))
        bare = Bare(work)
        write(unary, bare, bare.first, work.frame_sets[0])
        write(stream, bare, bare.calls[-1], work.frame_sets[-1])
        settings = {"SYNPOSE_MAX_STREAMS": "64", "SYNPOSE_MAX_UPLOADS": "64"}
        server = stack.enter_context(loopback(settings))
        peers = {
            name: stack.enter_context(peer(name, python, unary, args.workers))
            for name, python in (("litserve", args.litserve), ("pytriton", args.pytriton))
            if python
        }
        asyncio.run(measure(work, server, (Work(unary), Work(stream)), peers, unary, args))


def write(
    folder: Path, bare: Bare, calls: Sequence[tuple[str, Mapping[str, Any]]], images: Mapping[str, bytes]
) -> None:
    """The files of `Work`, and the images."""
    bundle = bare.model.bundle
    graphs = {kind: str(path) for kind, path in bundle.graphs.items()}
    told = {"threads": bare.threads, "graphs": graphs, "runs": [kind for kind, _ in calls]}
    (folder / "work.json").write_text(json.dumps(told))
    for k, (_, inputs) in enumerate(calls):
        np.savez(folder / f"{k}.npz", **inputs)
    for camera, image in images.items():
        (folder / f"{camera}.jpg").write_bytes(image)


Run = Callable[[int], Coroutine[Any, Any, tuple[float, float]]]
"""With so many clients: frame sets a second, and seconds of CPU time a frame set."""


async def measure(
    work: Workload,
    server: Loopback,
    bare: tuple[Work, Work],
    peers: Mapping[str, tuple[str, int, int]],
    folder: Path,
    args: argparse.Namespace,
) -> None:
    runs: dict[str, Run] = {
        "http": lambda clients: unary("http", server.http, server.pid, work, clients, args.seconds),
        "grpc": lambda clients: unary("grpc", server.grpc, server.pid, work, clients, args.seconds),
        "stream": lambda clients: streams(server.grpc, server.pid, work, clients, args.seconds),
    }
    if "litserve" in peers:
        runs["litserve"] = lambda clients: litserve(*peers["litserve"][1:], work, clients, args.seconds)
    if "pytriton" in peers:
        runs["pytriton"] = lambda clients: pytriton(*peers["pytriton"], folder, clients, args.seconds)
    for run in runs.values():
        await run(1)  # warm
    for clients in args.clients:
        shares, costs = defaultdict(list), defaultdict(list)
        for turn in range(args.rounds):
            order = [*runs][turn % len(runs) :] + [*runs][: turn % len(runs)]
            before = [bare_rate(w, work, args.seconds / 2) for w in bare]
            for name in order:
                rate, took = await runs[name](clients)
                after = [bare_rate(w, work, args.seconds / 2) for w in bare]
                own, cost = np.mean([before, after], axis=0)[int(name == "stream")]
                before = after
                shares[name].append(rate / own)
                costs[name].append(cost / took)
                print(f"{clients} clients, {name}: {rate:.1f}/s, {took * 1e3:.0f} ms of CPU", end="; ")
                print(f"bare beside it {own:.1f}/s, {cost * 1e3:.0f} ms", flush=True)
        for name in runs:
            print(f"{clients} clients, {name}: {listed(shares[name])} of the bare work's rate", end=", ")
            print(f"bare over server in CPU time {listed(costs[name])}")


def listed(values: Sequence[float]) -> str:
    """The median, and all of them."""
    return f"{statistics.median(values):.2f} ({', '.join(f'{value:.2f}' for value in values)})"


def bare_rate(bare: Work, work: Workload, seconds: float) -> tuple[float, float]:
    start, spent, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < seconds:
        bare(list(work.frame_sets[done % len(work.frame_sets)].values()))
        done += 1
    return done / (time.perf_counter() - start), (time.process_time() - spent) / done


async def unary(door: str, url: str, pid: int, work: Workload, clients: int, seconds: float) -> tuple[float, float]:
    before = cpu_of_all(pid)
    async with DOORS[door](url, work, None) as asked:
        report = await closed_loop(asked, work, Load(seconds), clients)
    if set(report.statuses) - {"200", "OK"}:
        print(f"{door}: {report.statuses}")
    return report.throughput, (cpu_of_all(pid) - before) / len(report.answers)


async def streams(url: str, pid: int, work: Workload, clients: int, seconds: float) -> tuple[float, float]:
    """Once every stream has found its person, which takes a run of the detector for each image."""
    policy, warm = StreamPolicy(mode="every", cameras=work.cameras), _FIND_SECONDS * clients
    spent: list[float] = []

    async def look() -> None:
        for pause in (warm, seconds):
            await asyncio.sleep(pause)
            spent.append(cpu_of_all(pid))

    async with AsyncClient(url) as client, asyncio.TaskGroup() as group:
        group.create_task(look())
        done = await fill_streams(client, work, Load(warm + seconds), clients, policy)
    ends = (answer.due + answer.seconds for answer in done.report.answers if answer.is_good)
    count = sum(warm <= end < warm + seconds for end in ends)
    return count / seconds, (spent[1] - spent[0]) / max(count, 1)


async def litserve(port: int, pid: int, work: Workload, clients: int, seconds: float) -> tuple[float, float]:
    bodies = [{"images": [base64.b64encode(image).decode() for image in images.values()]} for images in work.frame_sets]
    start, before, done = time.perf_counter(), cpu_of_all(pid), 0

    async def client() -> None:
        nonlocal done
        while time.perf_counter() - start < seconds:
            answer = await http.post(f"http://127.0.0.1:{port}/predict", json=bodies[done % len(bodies)])
            answer.raise_for_status()
            done += 1

    async with httpx.AsyncClient(timeout=120) as http, asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return done / (time.perf_counter() - start), (cpu_of_all(pid) - before) / done


async def pytriton(python: str, port: int, pid: int, folder: Path, clients: int, seconds: float) -> tuple[float, float]:
    before = cpu_of_all(pid)
    command = [python, str(PEERS / "pytriton_peer.py"), "load", str(folder), str(port), str(clients), str(seconds)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, env=clean(python))
    out, _ = await process.communicate()
    rate, count = map(float, out.split())
    return rate, (cpu_of_all(pid) - before) / count


def cpu_of_all(pid: int) -> float:
    """Seconds of CPU time of a process and, where it leads a group, of all others in that."""
    group, total = os.getpgid(pid), 0.0
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):  # it has just ended
                if int(folder.name) == pid or (group == pid and os.getpgid(int(folder.name)) == group):
                    total += cpu(int(folder.name))
    return total


@contextmanager
def peer(name: str, python: str, folder: Path, workers: int) -> Iterator[tuple[str, int, int]]:
    """Another server, ready; its python, its port and its process."""
    port = free_port()
    mode = ["serve"] if name == "pytriton" else []
    command = [python, str(PEERS / f"{name}_peer.py"), *mode, str(folder), str(port), str(workers)]
    health = f"http://127.0.0.1:{port}/" + ("v2/models/pose/ready" if name == "pytriton" else "health")
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=clean(python), stdout=quiet, stderr=quiet, start_new_session=True) as process:
        try:
            for _ in range(600):
                try:
                    if httpx.get(health).status_code == 200:
                        break
                except httpx.HTTPError:
                    pass
                assert process.poll() is None, f"{name} did not start"
                time.sleep(0.1)
            yield python, port, process.pid
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)
            with suppress(ProcessLookupError):  # its workers, which may outlive it
                os.killpg(process.pid, signal.SIGKILL)


def clean(python: str) -> dict[str, str]:
    """The environment without this program's packages; Triton's backend finds the library of `python` by name."""
    library = Path(python).resolve().parents[1] / "lib"
    return {**{n: v for n, v in os.environ.items() if n != "PYTHONPATH"}, "LD_LIBRARY_PATH": str(library)}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main()
