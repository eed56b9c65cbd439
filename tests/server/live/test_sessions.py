"""What streams may cost: places, idleness, clocks; over the WebSocket of a real server with one real model."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.e2e.clip import CALIBRATION, CAMERAS, RIG, jpegs
from tests.server.live_server import serve

import synpose
from synpose.errors import CalibrationError, Draining, InvalidInput, NotFound, Overloaded
from synpose.live import Capture, LivePose, Opened, Resume, Start, StreamPolicy, ToServer
from synpose.options import Options
from synpose.rig import Rig
from synpose_server import metrics, tracing
from synpose_server.engine import Engine
from synpose_server.live import Sessions, converse
from synpose_server.live import sessions as module
from synpose_server.live.calibrations import Calibrations, hash_of
from synpose_server.requests import read_rig
from synpose_server.settings import Settings

EVERY = StreamPolicy(mode="every", max_wait=20.0)
START = Start({"rig.json": CALIBRATION}, Options(model="quick"), EVERY)
Open = Callable[[Settings], synpose.Client]


def counted(name: str, **labels: str) -> float:
    """The value of a metric."""
    return metrics._registry.get_sample_value(f"synpose_{name}", labels) or 0.0


def streams(event: str) -> float:
    return counted("streams_total", event=event)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(Settings(), only="quick")


@pytest.fixture
def connect(engine: Engine) -> Iterator[Open]:
    """A client of a server with the given settings."""
    with ExitStack() as stack:

        def start(settings: Settings) -> synpose.Client:
            engine.settings = settings
            return stack.enter_context(synpose.Client(stack.enter_context(serve(engine))))

        yield start


def test_places_are_bounded_and_given_back(connect: Open) -> None:
    """One stream more than there are places is told so; one that was left gives way."""
    client = connect(Settings(max_streams=2))
    with client.live(RIG, model="quick"):
        with client.live(RIG, model="quick"), pytest.raises(Overloaded, match="2 streams"), client.live(RIG):
            pass
        with client.live(RIG, model="quick") as stream:
            stream.end()
            assert list(stream) == []


def test_an_idle_stream_is_ended(connect: Open) -> None:
    """Who sends nothing for the time that the settings give loses the stream, and is told why."""
    client = connect(Settings(stream_idle_seconds=0.3))
    with client.live(RIG, model="quick") as stream, pytest.raises(InvalidInput, match="nothing was sent"):
        next(stream)


def test_a_calibration_gives_way_to_newer_ones() -> None:
    """The store of calibrations is bounded; what fell out is NotFound."""
    store = Calibrations(2)
    one, two, three = (store.put(RIG.subset(CAMERAS[:k])) for k in (1, 2, 3))
    assert store.put(RIG.subset(CAMERAS[:2])) == two
    with pytest.raises(synpose.NotFound):
        store[one]
    assert store[three].names == CAMERAS[:3]


@pytest.mark.parametrize("clock", ["align", "trust"])
def test_clocks_that_are_apart(connect: Open, clock: str) -> None:
    """A clock that is 200 ms ahead is found and told; aligned, every frame set is complete."""
    ahead, late = 0.2, CAMERAS[1]
    images = {camera: jpegs(camera) for camera in CAMERAS}
    client = connect(Settings())
    policy = StreamPolicy.from_mapping({"mode": "every", "clock": clock, "max_wait": 20.0})
    with client.live(RIG, policy, model="quick", fps=30) as stream:
        begun = time.monotonic()  # sent as cameras do: their clocks are told by what each image needs
        for k in range(12):
            time.sleep(max(0.0, begun + k / 30 - time.monotonic()))
            for camera in CAMERAS:
                stream.send_image(camera, k / 30 + ahead * (camera == late), images[camera][k % 8])
        stream.end()
        poses = list(stream)
    offsets = poses[-1].clock_offsets
    assert offsets[late] - offsets[CAMERAS[0]] == pytest.approx(ahead, abs=0.03)
    if clock == "align":
        assert [pose.missing for pose in poses] == [()] * 12
        assert max(pose.skew for pose in poses) < 1 / 60
    else:
        assert poses[0].missing == (late,)


def test_clocks_that_step_backwards_are_told(connect: Open) -> None:
    """A stream whose timestamps begin again goes on after eight late frame sets, and its first result says why."""
    images = {camera: jpegs(camera)[0] for camera in CAMERAS}
    times = [1000.0, 1000.1, *(k / 10 for k in range(12))]
    with connect(Settings()).live(RIG, EVERY, model="quick") as stream:
        poses = list(stream.follow((time, images) for time in times))
    assert [pose.frame.timestamp for pose in poses] == pytest.approx([1000.0, 1000.1, 0.8, 0.9, 1.0, 1.1])
    told = [[notice.code for notice in pose.frame.notices if notice.code == "clock-stepped"] for pose in poses]
    assert told == [[], [], ["clock-stepped"], [], [], []]
    assert stream.counters.late == 8 * len(CAMERAS)


def test_a_stream_that_opens_while_the_server_begins_to_stop(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused, and nothing is left of it that the end would wait for."""

    async def scenario() -> None:
        sessions = Sessions(engine)

        def slow(*request: Any) -> Any:
            asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
            return read_rig(*request)

        async def stop() -> None:
            sessions.drain()

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(module, "read_rig", slow)
        try:
            with pytest.raises(Draining):
                async with sessions.attach(START):
                    pass
            assert not sessions._entries
        finally:
            sessions.close()

    engine.settings = Settings()
    asyncio.run(scenario())


def test_a_stream_that_was_answered_gives_way_first(engine: Engine) -> None:
    """One that may be resumed keeps its place, though its connection broke earlier."""

    async def scenario() -> None:
        sessions = Sessions(engine)
        try:
            async with sessions.attach(START) as broken:
                pass
            async with sessions.attach(START) as answered:
                answered.session.finish(0.0)
                while not answered.session.is_answered:
                    await asyncio.sleep(0.005)
            async with sessions.attach(START) as third:
                assert set(sessions._entries) == {broken.session.token, third.session.token}
        finally:
            sessions.close()

    engine.settings = Settings(max_streams=2)
    asyncio.run(scenario())


def test_no_stream_gives_way_to_one_that_cannot_begin(engine: Engine) -> None:
    """Whoever wants to resume does not lose the stream to somebody's broken start."""

    async def scenario() -> None:
        sessions = Sessions(engine)
        try:
            async with sessions.attach(START) as broken:
                pass
            for wrong in (Start({"rig.json": b"no calibration"}), Start({"rig.json": CALIBRATION}, Options("unknown"))):
                with pytest.raises((CalibrationError, NotFound)):
                    async with sessions.attach(wrong):
                        pass
            async with sessions.attach(Resume(broken.session.token)) as resumed:
                assert resumed.session is broken.session
        finally:
            sessions.close()

    engine.settings = Settings(max_streams=1)
    asyncio.run(scenario())


def test_the_hash_of_a_calibration_is_not_computed_on_the_loop(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of many cameras takes long enough for others to notice."""
    threads = []

    def told(rig: Rig) -> str:
        threads.append(threading.current_thread())
        return hash_of(rig)

    async def scenario() -> None:
        sessions = Sessions(engine)
        try:
            async with sessions.attach(START) as link:
                assert link.session.calibration_hash == hash_of(RIG)
        finally:
            sessions.close()

    monkeypatch.setattr(module, "hash_of", told)
    engine.settings = Settings()
    asyncio.run(scenario())
    assert threads
    assert threading.main_thread() not in threads


def test_streams_are_counted(connect: Open) -> None:
    """What happens to streams is told to Prometheus, a client's mistake as a failure and as a problem of the door."""
    before = {event: streams(event) for event in ("opened", "failed", "refused", "expired", "ended")}
    problems = counted("rejections_total", door="websocket", reason="invalid-input")
    client = connect(Settings(max_streams=1, stream_resume_seconds=0.0))
    with client.live(RIG, model="quick") as stream:
        assert counted("streams_open", state="connected") == 1
        with pytest.raises(Overloaded), client.live(RIG, model="quick"):
            pass
        stream.send(0.0, {"nobody": b""})
        with pytest.raises(InvalidInput):
            next(stream)
    with client.live(RIG, model="quick"):
        pass
    with client.live(RIG, model="quick") as stream:
        assert list(stream.follow([])) == []
    limit = time.monotonic() + 10
    while counted("streams_open", state="connected") + counted("streams_open", state="waiting"):
        assert time.monotonic() < limit
        time.sleep(0.01)
    told = {event: streams(event) - value for event, value in before.items()}
    assert told == {"opened": 3, "failed": 1, "refused": 1, "expired": 1, "ended": 1}
    assert counted("rejections_total", door="websocket", reason="invalid-input") - problems == 1


def test_late_frame_sets_are_counted(connect: Open) -> None:
    """Those of whole sets by the set, others by the image."""
    before = counted("late_frame_sets_total")
    client = connect(Settings())
    with client.live(RIG, EVERY, model="quick") as stream:
        stream.send(1.0, {})
        stream.send(0.5, dict.fromkeys(CAMERAS, b"whole"))
        stream.send_image(CAMERAS[0], 0.6, b"image")
        stream.end()
        assert len(list(stream)) == 1
    assert counted("late_frame_sets_total") - before == 2


def test_the_stages_of_a_stream_lie_below_its_call(connect: Open) -> None:
    """They are computed in other threads, and still belong to the trace of the call."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    try:
        with connect(Settings()).live(RIG, EVERY, model="quick") as stream:
            list(stream.follow([(0.0, {camera: jpegs(camera)[0] for camera in CAMERAS})]))
        limit = time.monotonic() + 10
        while "/v1/stream" not in {span.name for span in exporter.get_finished_spans()}:
            assert time.monotonic() < limit
            time.sleep(0.01)
    finally:
        tracing.use(None)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    parent = spans["spatial"].parent
    assert parent is not None
    assert parent.span_id == spans["/v1/stream"].context.span_id


def test_what_a_client_who_left_got_wrong_is_no_noise(engine: Engine) -> None:
    """A mistake that nobody is told any more is not reported as an exception that was never retrieved."""

    async def messages(wrong: asyncio.Event) -> AsyncIterator[ToServer]:
        yield START
        yield Capture(0.0, {}, whole=True)
        await wrong.wait()
        yield START

    async def scenario() -> None:
        sessions, wrong = Sessions(engine), asyncio.Event()
        answers = converse(sessions, messages(wrong))
        assert isinstance(await anext(answers), Opened)
        assert isinstance(await anext(answers), LivePose)
        (reading,) = asyncio.all_tasks() - {asyncio.current_task()}
        wrong.set()
        await asyncio.wait([reading])
        await answers.aclose()
        assert not reading._log_traceback  # what asyncio goes by
        assert isinstance(reading.exception(), InvalidInput)
        sessions.close()

    engine.settings = Settings()
    asyncio.run(scenario())
