"""What becomes of live streams when something goes wrong: a table of faults and what came out.

    python benchmarks/faults.py
    python benchmarks/faults.py --only server-killed abandoned --rounds 1
    python benchmarks/faults.py --soak 20

A server is started, and a neighbour plays a stream at `--share` of the rate that the machine holds, throughout. Each
fault is done to another stream, of twice that rate, `--rounds` times; before each time and after the last comes a
control of `--seconds`, in which that stream goes well. Told are what came out, results that were lost or came twice in
mode `every`, the neighbour's p99 over all of its results in the controls and during the faults, and the memory of the
server. The p99 of every other control against that of the rest is what this machine moves it by without a fault.

`--soak` does the faults one after another for so many minutes, a neighbour beside them, and tells the memory of the
server in the four quarters of that time.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, cycle
from pathlib import Path
from typing import Any, TypeVar

import httpx
from cameras import workload

from synpose import live_wire
from synpose.bench import Load, Workload
from synpose.bench.loopback import Loopback, loopback
from synpose.bench.measured import percentile
from synpose.bench.streams import fill_streams
from synpose.client import AsyncClient
from synpose.errors import SynposeError
from synpose.live import Capture, LivePose, Start, StreamPolicy
from synpose.live_client import AsyncLiveStream
from synpose.transports.grpc import GrpcTransport

T = TypeVar("T")


@dataclass
class Trial:
    """Where faults are done, and the policy of a stream that may lose nothing."""

    server: Loopback
    work: Workload
    seconds: float
    abandoned: int
    models: Path
    fps: float = 10.0  # of the stream that has the fault

    def policy(self, **more: object) -> StreamPolicy:
        return StreamPolicy.from_mapping({"mode": "every", "max_wait": 0.5, "cameras": self.work.cameras, **more})

    async def stream(
        self, feed: Callable[[AsyncLiveStream], Coroutine[Any, Any, None]], policy: StreamPolicy, url: str | None = None
    ) -> tuple[list[LivePose], AsyncLiveStream]:
        """All poses of a stream that `feed` sends."""
        async with (
            AsyncClient(url or self.server.grpc) as client,
            client.live(self.work.rig, policy, model=self.work.options.model) as stream,
        ):
            feeding = asyncio.create_task(feed(stream))
            poses = [pose async for pose in stream]
            await feeding
            return poses, stream

    def instants(self) -> range:
        return range(int(self.seconds * self.fps))

    def images(self, number: int) -> Mapping[str, bytes]:
        return self.work.frame_sets[number % len(self.work.frame_sets)]


Fault = Callable[[Trial], Awaitable[str]]


async def client_killed(trial: Trial) -> str:
    """The connection breaks again and again; the client resumes over a new one."""
    host, port = trial.server.grpc.removeprefix("grpc://").rsplit(":", 1)
    writers: list[asyncio.StreamWriter] = []

    async def passed(near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        far_in, far_out = await asyncio.open_connection(host, int(port))
        writers.extend((near_out, far_out))

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while data := await source.read(1 << 16):
                    sink.write(data)
                    await sink.drain()
            sink.close()

        await asyncio.gather(copy(near_in, far_out), copy(far_in, near_out))

    relay = await asyncio.start_server(passed, "127.0.0.1", 0)
    address = f"grpc://127.0.0.1:{relay.sockets[0].getsockname()[1]}"
    cuts = 0

    async def feed(stream: AsyncLiveStream) -> None:
        nonlocal cuts
        for number in trial.instants():
            await stream.send(number / trial.fps, trial.images(number))
            await asyncio.sleep(1 / trial.fps)
            if number % 10 == 5:
                cuts += 1
                for writer in writers:
                    writer.transport.abort()
                writers.clear()
        await stream.end()

    poses, stream = await trial.stream(feed, trial.policy(), address)
    relay.close()
    return f"{cuts} cuts: {balance(poses, len(trial.instants()))}; {stream.restarts} restarts"


async def camera_lost(trial: Trial) -> str:
    """One of the cameras sends nothing for the middle third."""
    gone = trial.work.cameras[-1]

    async def feed(stream: AsyncLiveStream) -> None:
        count = len(trial.instants())
        for number in trial.instants():
            for camera, image in trial.images(number).items():
                if camera != gone or not count / 3 <= number < 2 * count / 3:
                    await stream.send_image(camera, number / trial.fps, image)
            await asyncio.sleep(1 / trial.fps)
        await stream.end()

    poses, _ = await trial.stream(feed, trial.policy())
    without = sum(gone in pose.missing for pose in poses)
    return f"{balance(poses, len(trial.instants()))}; {without} without {gone}, {answered(poses)} with a person"


async def clock_skew(trial: Trial) -> str:
    """The clock of one camera is 200 ms ahead; the stream asks for alignment."""
    ahead = trial.work.cameras[0]

    async def feed(stream: AsyncLiveStream) -> None:
        for number in trial.instants():
            for camera, image in trial.images(number).items():
                await stream.send_image(camera, number / trial.fps + (0.2 if camera == ahead else 0.0), image)
            await asyncio.sleep(1 / trial.fps)
        await stream.end()

    poses, _ = await trial.stream(feed, trial.policy(clock="align"))
    whole = sum(not pose.missing for pose in poses)
    offsets = poses[-1].clock_offsets
    apart = offsets[ahead] - min(offsets.values())
    return f"{len(poses)} poses, {whole} of whole frame sets; offset told {apart * 1e3:.0f} ms"


async def disorder(trial: Trial) -> str:
    """Neighbouring images change places and every fifth comes twice."""
    chance = random.Random(1)

    async def feed(stream: AsyncLiveStream) -> None:
        for number in trial.instants()[::2]:
            pair = [(k, item) for k in (number, number + 1) for item in trial.images(k).items()]
            chance.shuffle(pair)
            for k, (camera, image) in pair:
                for _ in range(2 if chance.random() < 0.2 else 1):
                    await stream.send_image(camera, k / trial.fps, image)
            await asyncio.sleep(2 / trial.fps)
        await stream.end()

    poses, stream = await trial.stream(feed, trial.policy())
    sent = 2 * len(trial.instants()[::2])
    return f"{balance(poses, sent)}; {stream.counters.duplicates} duplicates, {stream.counters.late} late images"


async def corrupt(trial: Trial) -> str:
    """One image in ten is broken: cut short, overwritten or no image at all."""
    chance, broken = random.Random(2), 0

    async def feed(stream: AsyncLiveStream) -> None:
        nonlocal broken
        for number in trial.instants():
            images = dict(trial.images(number))
            for camera, image in images.items():
                if chance.random() < 0.1:
                    broken += 1
                    junk = chance.randbytes(200)
                    images[camera] = chance.choice((image[: len(image) // 2], junk, image[:300] + junk + image[500:]))
            await stream.send(number / trial.fps, images)
            await asyncio.sleep(1 / trial.fps)
        await stream.end()

    poses, stream = await trial.stream(feed, trial.policy())
    told = stream.counters.corrupt
    return f"{balance(poses, len(trial.instants()))}; {broken} broken, {told} told, {answered(poses)} with a person"


async def slow_reader(trial: Trial) -> str:
    """Nobody reads for the first half; the sender goes on for as long as it is let."""
    before = rss(trial.server.pid)
    async with (
        AsyncClient(trial.server.grpc) as client,
        client.live(trial.work.rig, trial.policy(), model=trial.work.options.model) as stream,
    ):

        async def feed() -> None:
            for number in trial.instants():
                await stream.send(number / trial.fps, trial.images(number))
            await stream.end()

        feeding = asyncio.create_task(feed())
        await asyncio.sleep(trial.seconds / 2)
        grown = rss(trial.server.pid) - before
        poses = [pose async for pose in stream]
        await feeding
    return f"{balance(poses, len(trial.instants()))}; memory grew by {grown:.0f} MiB while nobody read"


async def server_killed(trial: Trial) -> str:
    """SIGKILL in mid-stream and a new server on the same port a second later; one of its own, without a neighbour."""
    with socket.create_server(("127.0.0.1", 0)) as http, socket.create_server(("127.0.0.1", 0)) as rpc:
        ports = http.getsockname()[1], rpc.getsockname()[1]
    again = asyncio.Event()

    async def feed(stream: AsyncLiveStream) -> None:
        for number in trial.instants():
            await stream.send(number / trial.fps, trial.images(number))
            await asyncio.sleep(1 / trial.fps)
            if number == len(trial.instants()) // 2:
                again.set()
        await stream.end()

    one, two = loopback(None, *ports), loopback(None, *ports)
    first = await asyncio.to_thread(one.__enter__)
    running = asyncio.create_task(trial.stream(feed, trial.policy(), first.grpc))
    await again.wait()
    first.process.kill()
    first.process.wait()
    began = time.monotonic()
    await asyncio.to_thread(two.__enter__)
    back = time.monotonic() - began
    poses, stream = await running
    two.__exit__(None, None, None)
    times = Counter(pose.frame.timestamp for pose in poses)
    twice = sum(count - 1 for count in times.values())
    lost = len(trial.instants()) - len(times)
    return f"back after {back:.1f} s, {stream.restarts} restart; {len(poses)} poses, {lost} unanswered, {twice} twice"


async def disk_full(trial: Trial) -> str:
    """Uploads spool to a disk of 1 MiB, over both doors (a server of its own)."""
    folder = Path(tempfile.mkdtemp())
    if os.system(f"mount -t tmpfs -o size=1m none {folder} 2>/dev/null") != 0:
        return "not tried: no small disk can be mounted here"
    try:
        with loopback({"TMPDIR": str(folder)}) as server:
            video = os.urandom(8 << 20)
            statuses: Counter[object] = Counter()
            async with httpx.AsyncClient(base_url=server.http, timeout=60) as http:
                for _ in range(5):
                    files = [
                        *(("calibration", f) for f in trial.work.calibration.items()),
                        ("video", ("cam01.mp4", video)),
                    ]
                    try:
                        response = await http.post("/v1/pose3d", files=files)
                        statuses[response.status_code] += 1
                    except httpx.TransportError:
                        statuses["closed"] += 1
                async with AsyncClient(server.grpc) as client:
                    for _ in range(5):
                        try:
                            await client.estimate(dict.fromkeys(trial.work.cameras, video), trial.work.rig)
                        except SynposeError as error:
                            statuses[type(error).__name__] += 1
                ready = (await http.get("/readyz")).status_code
            door = Trial(server, trial.work, 2, 0, trial.models, trial.fps)
            done = await play(door)
            return f"{dict(statuses)}; ready {ready}; a stream after it: {done}"
    finally:
        os.system(f"umount {folder}")


async def play(trial: Trial) -> str:
    async def feed(stream: AsyncLiveStream) -> None:
        for number in trial.instants():
            await stream.send(number / trial.fps, trial.images(number))
        await stream.end()

    poses, _ = await trial.stream(feed, trial.policy())
    return balance(poses, len(trial.instants()))


async def model_swapped(trial: Trial) -> str:
    """The model is loaded anew, five times, while a stream runs."""
    loads: Counter[int] = Counter()

    async def feed(stream: AsyncLiveStream) -> None:
        async with httpx.AsyncClient(base_url=trial.server.http, timeout=60) as http:
            for number in trial.instants():
                await stream.send(number / trial.fps, trial.images(number))
                await asyncio.sleep(1 / trial.fps)
                if number % max(1, len(trial.instants()) // 5) == 0:
                    manifest = trial.models / trial.work.options.model / "manifest.json"
                    os.utime(manifest)
                    loads[(await http.post(f"/v1/models/{trial.work.options.model}/load")).status_code] += 1
        await stream.end()

    poses, _ = await trial.stream(feed, trial.policy())
    return f"loads by status {dict(loads)}; {balance(poses, len(trial.instants()))}"


async def abandoned(trial: Trial) -> str:
    """Streams that are begun, sent a few frame sets, at the rate of a good one, and left without a word."""
    memory = []
    for number in range(trial.abandoned):
        transport = GrpcTransport(trial.server.grpc)
        policy = trial.policy(mode="latest" if number % 2 else "every")
        call = transport.stub.StreamPoses()
        await call.write(live_wire.to_server(Start(trial.work.calibration, trial.work.options, policy)))
        await call.read()
        for k in range(1 + number % 4):
            await call.write(live_wire.to_server(Capture(k / trial.fps, trial.images(k), whole=True)))
        if number % 3:
            await call.read()
        call.cancel()
        await transport.aclose()
        await asyncio.sleep((1 + number % 4) / trial.fps)
        if number % max(1, trial.abandoned // 10) == 0:
            memory.append(round(rss(trial.server.pid)))
    return f"{trial.abandoned} left; memory in MiB {memory}"


OWN_SERVERS = ("disk-full", "server-killed")
FAULTS: Mapping[str, Fault] = {
    "client-killed": client_killed,
    "camera-lost": camera_lost,
    "clock-skew": clock_skew,
    "disorder": disorder,
    "corrupt": corrupt,
    "slow-reader": slow_reader,
    "model-swapped": model_swapped,
    "abandoned": abandoned,
    "disk-full": disk_full,
    "server-killed": server_killed,
}


def balance(poses: list[LivePose], sent: int) -> str:
    """How many results were lost, came twice or out of order."""
    numbers = [pose.sequence for pose in poses]
    twice, disorder = len(numbers) - len(set(numbers)), numbers != sorted(numbers)
    return f"{sent} sent, {len(set(numbers))} answered, {twice} twice" + (", OUT OF ORDER" if disorder else "")


def answered(poses: list[LivePose]) -> int:
    return sum(bool(pose.frame.people) for pose in poses)


def rss(pid: int) -> float:
    """MiB of memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


async def neighbour(trial: Trial, fps: float, work: Awaitable[T]) -> tuple[T, list[float]]:
    """The result of `work`, and the latencies of a stream that plays until it is there."""
    sent: dict[float, float] = {}
    latencies: list[float] = []
    working = asyncio.ensure_future(work)

    async def feed(stream: AsyncLiveStream) -> None:
        start, number = time.monotonic(), 0
        while not working.done() or not number:
            sent[number / fps] = time.monotonic()
            await stream.send(number / fps, trial.images(number))
            number += 1
            await asyncio.sleep(max(0.0, start + number / fps - time.monotonic()))
        await stream.end()

    async with (
        AsyncClient(trial.server.grpc) as client,
        client.live(trial.work.rig, trial.policy(), model=trial.work.options.model) as stream,
    ):
        feeding = asyncio.create_task(feed(stream))
        async for pose in stream:
            latencies.append(time.monotonic() - sent[pose.frame.timestamp])
        await feeding
    return await working, latencies


async def control(trial: Trial) -> str:
    """The stream that faults are done to, without one."""

    async def feed(stream: AsyncLiveStream) -> None:
        for number in trial.instants():
            await stream.send(number / trial.fps, trial.images(number))
            await asyncio.sleep(1 / trial.fps)
        await stream.end()

    poses, _ = await trial.stream(feed, trial.policy())
    return balance(poses, len(trial.instants()))


async def tried(fault: Fault, trial: Trial) -> str:
    """What came of a fault, or that nothing came in time."""
    try:
        async with asyncio.timeout(120 + 2 * trial.abandoned):
            return await fault(trial)
    except (SynposeError, TimeoutError) as error:
        return f"FAILED: {error!r}"


async def prepare(trial: Trial, share: float) -> float:
    """Set the rate of the stream that faults are done to; that of the neighbour, in frame sets a second."""
    async with AsyncClient(trial.server.grpc) as client:
        policy = StreamPolicy(mode="every", cameras=trial.work.cameras)
        done = await fill_streams(client, trial.work, Load(5), 1, policy)
    held = done.report.throughput
    fps = share * held
    trial.fps = 2 * fps
    print(f"held {held:.1f} frame sets/s; neighbour {fps:.1f}, the other {trial.fps:.1f}", flush=True)
    return fps


async def measure(trial: Trial, names: list[str], share: float, rounds: int) -> None:
    fps = await prepare(trial, share)
    for name in names:
        if name in OWN_SERVERS:
            print(f"{name} | {await tried(FAULTS[name], trial)}", flush=True)
            continue
        controls = [(await neighbour(trial, fps, control(trial)))[1]]
        faulty: list[float] = []
        for _ in range(rounds):
            out, latencies = await neighbour(trial, fps, tried(FAULTS[name], trial))
            faulty += latencies
            controls.append((await neighbour(trial, fps, control(trial)))[1])
        one, other = (percentile([*chain(*controls[k::2])], 99) for k in (0, 1))
        quiet, loud = percentile([*chain(*controls)], 99), percentile(faulty, 99)
        moved = (
            f"p99 {quiet * 1e3:.0f} -> {loud * 1e3:.0f} ms ({loud / quiet - 1:+.0%}; without {other / one - 1:+.0%})"
        )
        print(f"{name} | {out} | {moved} | {rss(trial.server.pid):.0f} MiB", flush=True)


async def soak(trial: Trial, share: float, minutes: float) -> bool:
    """Do the faults in turn for so long; whether memory in the last quarter is that of the second."""
    fps = await prepare(trial, share)
    memory: list[float] = []
    done: Counter[str] = Counter()

    async def sample() -> None:
        while True:
            memory.append(rss(trial.server.pid))
            await asyncio.sleep(1)

    async def faults() -> None:
        until = time.monotonic() + 60 * minutes
        for name in cycle(name for name in FAULTS if name not in OWN_SERVERS):
            if time.monotonic() >= until:
                return
            out = await tried(FAULTS[name], trial)
            done[name] += 1
            if out.startswith("FAILED"):
                print(f"{name} | {out}", flush=True)

    sampling = asyncio.create_task(sample())
    _, latencies = await neighbour(trial, fps, faults())
    sampling.cancel()
    quarter = max(1, len(memory) // 4)
    means = [statistics.mean(memory[k * quarter : (k + 1) * quarter]) for k in range(4)]
    print(f"{minutes:g} minutes: {dict(done)}; neighbour's p99 {percentile(latencies, 99) * 1e3:.0f} ms")
    print("memory in MiB, mean of each quarter: " + ", ".join(f"{mean:.0f}" for mean in means))
    return means[3] <= 1.05 * means[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fast")
    parser.add_argument("--cameras", type=int, default=3)
    parser.add_argument("--width", type=int, default=360)
    parser.add_argument("--seconds", type=float, default=10, help="of each fault")
    parser.add_argument("--share", type=float, default=0.2, help="of the machine that the neighbour uses")
    parser.add_argument("--rounds", type=int, default=3, help="of each fault")
    parser.add_argument("--abandoned", type=int, default=1000, help="streams")
    parser.add_argument("--soak", type=float, nargs="?", const=20.0, metavar="MINUTES", help="(20 if not told)")
    parser.add_argument("--only", nargs="+", choices=tuple(FAULTS), default=list(FAULTS))
    args = parser.parse_args()
    logging.getLogger("synpose").setLevel(logging.ERROR)  # reconnecting is what is asked for
    import synpose_model

    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        shutil.copytree(Path(synpose_model.__file__).parent / "bundles", models)
        with loopback({"SYNPOSE_MODELS": str(models), "SYNPOSE_ADMIN": "true"}) as server:
            trial = Trial(server, workload(args.cameras, args.width, args.model), args.seconds, args.abandoned, models)
            if args.soak is None:
                asyncio.run(measure(trial, args.only, args.share, args.rounds))
                return 0
            trial.abandoned = min(args.abandoned, 50)  # a turn
            return 0 if asyncio.run(soak(trial, args.share, args.soak)) else 1


if __name__ == "__main__":
    sys.exit(main())
