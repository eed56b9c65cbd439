"""Load by live streams: simulated cameras that play, or clients that keep a stream filled."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random

from synpose.bench.load import Load
from synpose.bench.measured import Answer, Report
from synpose.bench.workload import Workload
from synpose.client import AsyncClient
from synpose.live import LivePose, StreamCounters, StreamPolicy
from synpose.live_client import AsyncLiveStream

__all__ = ["StreamReport", "fill_streams", "play_streams"]


@dataclass(frozen=True)
class StreamReport:
    """What came of `streams` live streams: `report` over all of them, and what the server counted."""

    report: Report
    streams: int
    counters: StreamCounters
    restarts: int
    poses: Sequence[Sequence[LivePose]]  # by stream, in order


async def play_streams(
    client: AsyncClient, workload: Workload, load: Load, streams: int, policy: StreamPolicy
) -> StreamReport:
    """`streams` rigs send at the workload's rate, each camera on its own; latency is from capture to pose.

    A frame set of which no pose came is `DROPPED`.
    """
    return await _all(client, workload, load, policy, [_Player(workload, load, k) for k in range(streams)])


async def fill_streams(
    client: AsyncClient, workload: Workload, load: Load, streams: int, policy: StreamPolicy, ahead: int = 2
) -> StreamReport:
    """`streams` clients send whole frame sets and keep `ahead` of them on their way, each waiting for its poses."""
    return await _all(client, workload, load, policy, [_Filler(workload, load, k, ahead) for k in range(streams)])


class _Sender:
    """Feeds one stream; `sent` says when each frame set was due, by its timestamp."""

    def __init__(self, workload: Workload, load: Load, number: int) -> None:
        self.workload, self.load, self.number = workload, load, number
        self.chance = Random(load.seed + number)
        self.sent: dict[float, float] = {}

    async def feed(self, stream: AsyncLiveStream) -> None:
        raise NotImplementedError

    def answered(self) -> None:
        """A pose came."""

    @property
    def most(self) -> float:
        return float("inf") if self.load.count is None else self.load.count


class _Player(_Sender):
    async def feed(self, stream: AsyncLiveStream) -> None:
        """Send each image when it was taken and has been on its way for its jitter."""
        workload, load = self.workload, self.load
        phase = self.chance.random() / workload.fps  # rigs are not in step with each other
        start, loop = time.time() + phase, asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            number = 0
            while number / workload.fps < load.seconds and number < self.most:
                taken = start + number / workload.fps
                await asyncio.sleep(max(0.0, taken - time.time()))
                self.sent[taken] = taken
                for camera, image in workload.frame_set(number, self.chance).items():
                    late = self.chance.uniform(0, workload.jitter)
                    if late:
                        group.create_task(_later(loop.time() + late, stream, camera, taken, image))
                    else:
                        await stream.send_image(camera, taken, image)
                number += 1
        await stream.end()


class _Filler(_Sender):
    def __init__(self, workload: Workload, load: Load, number: int, ahead: int) -> None:
        super().__init__(workload, load, number)
        self._places = asyncio.Semaphore(ahead)

    async def feed(self, stream: AsyncLiveStream) -> None:
        end, number = time.time() + self.load.seconds, 0
        while number < self.most:
            await self._places.acquire()
            if (now := time.time()) >= end:
                break
            self.sent[number / self.workload.fps] = now
            await stream.send(number / self.workload.fps, self.workload.frame_set(number, self.chance))
            number += 1
        await stream.end()

    def answered(self) -> None:
        self._places.release()


async def _later(when: float, stream: AsyncLiveStream, camera: str, taken: float, image: bytes) -> None:
    await asyncio.sleep(max(0.0, when - asyncio.get_running_loop().time()))
    await stream.send_image(camera, taken, image)


async def _all(
    client: AsyncClient, workload: Workload, load: Load, policy: StreamPolicy, senders: Sequence[_Sender]
) -> StreamReport:
    start = time.time()
    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(_run(client, workload, policy, sender, load, start)) for sender in senders]
    seconds = time.time() - start
    answers = [answer for run in runs for answer in run.result()[0]]
    total: Counter[str] = Counter()
    for run in runs:
        total.update(asdict(run.result()[1]))
    return StreamReport(
        Report(answers, seconds, load.deadline),
        len(senders),
        StreamCounters(**total),
        sum(run.result()[2] for run in runs),
        [run.result()[3] for run in runs],
    )


async def _run(
    client: AsyncClient, workload: Workload, policy: StreamPolicy, sender: _Sender, load: Load, start: float
) -> tuple[list[Answer], StreamCounters, int, list[LivePose]]:
    """One stream from its beginning to its end."""
    options = asdict(workload.options)
    answers, poses, waiting = [], [], sender.sent
    async with client.live(workload.rig, policy, **options) as stream:
        feeding = asyncio.create_task(sender.feed(stream))
        try:
            async for pose in stream:
                now = time.time()
                poses.append(pose)
                due = waiting.pop(pose.frame.timestamp, None)
                if due is not None:
                    answers.append(Answer(due - start, now - due, "OK"))
                sender.answered()
        finally:
            feeding.cancel()
            await asyncio.wait([feeding])
        if not feeding.cancelled():
            feeding.result()
        answers += [Answer(due - start, time.time() - due, "DROPPED") for due in waiting.values()]
        return answers, stream.counters, stream.restarts, poses
