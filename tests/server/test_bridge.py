"""The bridge where calls of the engine take their time."""

from __future__ import annotations

import asyncio
import errno
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack

import numpy as np
import pytest
from tests.server.fake_engine import FakeEngine

from synpose.errors import DeadlineExceeded, Draining, NotFound, Overloaded
from synpose.options import Options
from synpose.pose import Frame
from synpose.rig import Camera, Rig
from synpose_server.bridge import Bridge
from synpose_server.engine import Estimation
from synpose_server.job import Job
from synpose_server.pace import Place
from synpose_server.settings import Settings
from synpose_server.sources import Source

K = [[1000, 0, 640], [0, 1000, 360], [0, 0, 1]]
RIG = Rig(tuple(Camera(name, (1280, 720), K, np.eye(3), [0, 0, 4]) for name in ("cam01", "cam02")))
IMAGES: dict[str, list[bytes | None]] = {name: [b"1"] for name in RIG.names}


class BusyEngine(FakeEngine):
    """Gives a place only when `admit` is set."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.admit = threading.Event()
        self.asked = threading.Semaphore(0)

    def estimate(
        self,
        rig: Rig,
        sources: Mapping[str, Source],
        options: Options,
        timestamps: Sequence[float] | None = None,
        place: Place | None = None,
        told: bool = True,
    ) -> Estimation:
        self.asked.release()
        assert self.admit.wait(10), "nobody gave a place"
        return super().estimate(rig, sources, options, timestamps)


async def estimate(bridge: Bridge) -> int:
    async with bridge.estimate(RIG, IMAGES, Options()) as running:
        return len([frame async for frame in running])


def test_a_place_that_comes_too_late_is_given_back() -> None:
    """Whoever stops waiting for a place frees it when it comes."""
    engine = BusyEngine()
    bridge = Bridge(engine)

    async def give_up() -> None:
        task = asyncio.create_task(estimate(bridge))
        await asyncio.to_thread(engine.asked.acquire)
        task.cancel()
        await asyncio.sleep(0.05)
        assert not engine.closed.is_set()
        engine.admit.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    assert engine.closed.is_set()
    bridge.close()


def test_more_than_can_wait_are_refused_at_once() -> None:
    """The line of those who wait is bounded; those in it get their turn."""
    engine = BusyEngine()
    bridge = Bridge(engine)

    async def crowd() -> None:
        waiting = [asyncio.create_task(estimate(bridge)) for _ in range(34)]
        await asyncio.to_thread(engine.asked.acquire)
        while bridge.admission.waiting < 32:
            await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="32 requests are waiting"):
            await estimate(bridge)
        engine.admit.set()
        assert await asyncio.gather(*waiting) == [3] * 34
        assert await estimate(bridge) == 3

    asyncio.run(crowd())
    bridge.close()


def test_only_models_that_are_served_are_remembered() -> None:
    """A name is looked up before admission keeps anything of it, and `default` is the bundle that it stands for."""
    bridge = Bridge(FakeEngine())

    async def ask(model: str) -> int:
        async with bridge.estimate(RIG, IMAGES, Options(model=model)) as running:
            return len([frame async for frame in running])

    for name in ("one", "two"):
        with pytest.raises(NotFound):
            asyncio.run(ask(name))
    assert [asyncio.run(ask(name)) for name in ("default", "fake")] == [3, 3]
    assert list(bridge.admission._paces) == ["fake"]
    bridge.close()


class SlowEngine(FakeEngine):
    """Its frames take a while to stop when they are told to."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_work = False

    def estimate(
        self,
        rig: Rig,
        sources: Mapping[str, Source],
        options: Options,
        timestamps: Sequence[float] | None = None,
        place: Place | None = None,
        told: bool = True,
    ) -> Estimation:
        return _SlowEstimation(self, super().estimate(rig, sources, options, timestamps))


class _SlowEstimation(Estimation):
    def __init__(self, engine: SlowEngine, estimation: Estimation) -> None:
        self.header = estimation.header
        self._engine = engine
        self._estimation = estimation

    def __next__(self) -> Frame:
        self._engine.at_work = True
        self._engine.closed.wait(10)
        time.sleep(0.1)
        self._engine.at_work = False
        raise StopIteration

    def close(self) -> None:
        self._estimation.close()


def test_no_thread_is_at_work_when_a_cancelled_estimate_returns() -> None:
    """Cancelling during a frame stops it and waits for its thread, so that the sources may be closed."""
    engine = SlowEngine()
    bridge = Bridge(engine)

    async def cancel() -> None:
        task = asyncio.create_task(estimate(bridge))
        while not engine.at_work:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not engine.at_work

    asyncio.run(cancel())
    bridge.close()


def test_a_cancelled_answer_stops_its_thread() -> None:
    """An answer that is made in one thread leaves none at work either, and its place is free again."""
    engine = SlowEngine()
    bridge = Bridge(engine)

    async def cancel() -> None:
        task = asyncio.create_task(bridge.answer(RIG, IMAGES, Options(), None, Job(), lambda _, frames: len(frames)))
        while not engine.at_work:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not engine.at_work
        assert bridge.admission.running == 0

    asyncio.run(cancel())
    assert engine.closed.is_set()
    bridge.close()


@pytest.mark.parametrize("late", [True, False], ids=["deadline", "gone"])
def test_a_conversion_that_nobody_waits_for(late: bool) -> None:
    """What runs keeps its place to its end, though its caller is told or gone at once; what waits never begins."""
    bridge, go, ran = Bridge(FakeEngine(Settings(max_uploads=3))), threading.Event(), list[str]()

    def work(name: str) -> str:
        ran.append(name)
        assert go.wait(10)
        return name

    async def convert(name: str, job: Job) -> str:
        with ExitStack() as held:
            held.enter_context(bridge.receiving(job))
            return await bridge.convert(lambda: work(name), job, held)
        raise AssertionError

    async def test() -> None:
        first = [asyncio.create_task(convert(name, Job(0.3 if late else None))) for name in "ab"]
        while len(ran) < 2:
            await asyncio.sleep(0.01)
        waiting = asyncio.create_task(convert("c", Job(0.1) if late else Job()))
        await asyncio.sleep(0.05)
        for task in () if late else (*first, waiting):
            task.cancel()
        for task in (*first, waiting):
            with pytest.raises(DeadlineExceeded if late else asyncio.CancelledError):
                await task
        with bridge.receiving(), pytest.raises(Overloaded, match="3 requests"), bridge.receiving():
            pass
        go.set()
        assert await convert("d", Job()) == "d"
        while bridge._uploads:
            await asyncio.sleep(0.01)
        assert sorted(ran) == ["a", "b", "d"]

    asyncio.run(test())
    bridge.close()


def test_an_answer_is_broken_off_when_the_server_stops() -> None:
    """It ends with the next frame, as a streamed one does."""
    engine = FakeEngine(holds_at=1)
    bridge = Bridge(engine)

    async def stop() -> None:
        task = asyncio.create_task(bridge.answer(RIG, IMAGES, Options(), None, Job(), lambda _, frames: len(frames)))
        while not engine.received:
            await asyncio.sleep(0.01)
        await bridge.lifecycle.drain(0)
        engine.go.set()
        with pytest.raises(Draining):
            await task

    asyncio.run(stop())
    bridge.close()


def test_a_full_disk_is_told_as_busy() -> None:
    """An upload that the disk has no room for may succeed later; any other failure of a file is a failure."""
    bridge = Bridge(FakeEngine())
    with pytest.raises(Overloaded, match="no room"), bridge.receiving():
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), bridge.receiving():
        raise PermissionError(errno.EACCES, "Permission denied")
    bridge.close()


def test_a_timer_that_is_early_is_a_deadline_that_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's clock may run ahead of the job's: what it cuts off is late all the same, body or estimate."""
    on_time = asyncio.timeout
    monkeypatch.setattr(asyncio, "timeout", lambda delay: on_time(None if delay is None else max(0.0, delay - 0.05)))
    engine = BusyEngine()
    bridge = Bridge(engine)

    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async def body() -> None:
        async for _ in bridge.in_time(nothing(), Job(0.2)):
            pass

    async def late() -> None:
        threading.Timer(0.5, engine.admit.set).start()
        async with bridge.estimate(RIG, IMAGES, Options(), job=Job(0.2)):
            pass

    for work in (body, late):
        with pytest.raises(DeadlineExceeded):
            asyncio.run(work())
    bridge.close()
