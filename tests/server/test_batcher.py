"""The batcher: many callers, one graph, nobody touches another, and nothing is run for nobody."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synpose.errors import DeadlineExceeded
from synpose_server.batcher import Arrays, Batcher
from synpose_server.job import Cancelled, Job
from synpose_server.stats import Stats


class Gate:
    """A graph that doubles; each run waits to be let through and notes what it was given."""

    def __init__(self) -> None:
        self.runs: list[list[int]] = []
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self, inputs: Arrays) -> Arrays:
        self.begun.release()
        assert self.open.wait(10), "nobody opened the gate"
        self.runs.append([int(x) for x in inputs["x"].reshape(len(inputs["x"]), -1)[:, 0]])
        if (inputs["x"] < 0).any():
            raise ValueError("negative")
        return {"y": inputs["x"] * 2}


class Crowd:
    """Callers in threads of their own, behind a first call that occupies the graph."""

    def __init__(self, limit: int = 4) -> None:
        self.gate, self.stats = Gate(), Stats()
        self.batcher = Batcher("g", self.gate, limit, self.stats)
        self._pool = ThreadPoolExecutor(32)
        self._pool.submit(self.batcher, Job(), x=np.array([0]))
        assert self.gate.begun.acquire(timeout=10)

    def call(self, job: Job, *values: int, shape: tuple[int, ...] = ()) -> Future[Arrays]:
        """A call that surely waits in line when this returns."""
        x = np.array(values).reshape(-1, *shape)
        queued = self._waiting() + len(x)
        future = self._pool.submit(self.batcher, job, x=x)
        while self._waiting() < queued:
            time.sleep(0)
        return future

    def _waiting(self) -> int:
        with self.batcher._lock:
            return sum(call.size for calls in self.batcher._waiting.values() for call in calls)

    def count(self, outcome: Any) -> int:
        return self.stats.counts["g", outcome]

    def close(self) -> None:
        self.gate.open.set()
        self._pool.shutdown()


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    crowd = Crowd()
    yield crowd
    crowd.close()


def test_calls_that_wait_share_a_run(crowd: Crowd) -> None:
    """Up to the limit; each gets its own answer, and a larger call is cut and put together again."""
    calls = [crowd.call(Job(), k, k) for k in (1, 2)] + [crowd.call(Job(), *range(3, 10))]
    crowd.gate.open.set()
    assert [call.result(10)["y"].tolist() for call in calls] == [[2, 2], [4, 4], [6, 8, 10, 12, 14, 16, 18]]
    assert crowd.gate.runs == [[0], [1, 1, 2, 2], [3, 4, 5, 6], [7, 8, 9]]


def test_jobs_take_turns(crowd: Crowd) -> None:
    """A job with many calls does not hold up one that comes later with a single one; its own keep their order."""
    greedy, modest = Job(), Job()
    calls = [crowd.call(greedy, k, k) for k in range(1, 6)]
    calls.append(crowd.call(modest, 9, 9))
    crowd.gate.open.set()
    assert [call.result(10)["y"][0] for call in calls] == [2, 4, 6, 8, 10, 18]
    assert crowd.gate.runs == [[0], [1, 1, 9, 9], [2, 2, 3, 3], [4, 4, 5, 5]]


def test_other_shapes_run_apart(crowd: Crowd) -> None:
    """Items of different shapes never meet in a run, and neither waits for the other for ever."""
    calls = [crowd.call(Job(), 1), crowd.call(Job(), 2, 2, shape=(2,)), crowd.call(Job(), 3)]
    crowd.gate.open.set()
    assert [call.result(10)["y"].ravel()[0] for call in calls] == [2, 4, 6]
    assert crowd.gate.runs == [[0], [1, 3], [2]]


def test_work_that_is_over_is_never_run(crowd: Crowd) -> None:
    """Cancelled and expired calls are dropped when their turn comes, told apart, and counted; the others are run."""
    gone, late, well = Job(), Job(60), Job(60)
    calls = [crowd.call(job, k) for k, job in enumerate((gone, late, well), 1)]
    gone.cancel()
    late.deadline = 0
    crowd.gate.open.set()
    with pytest.raises(Cancelled):
        calls[0].result(10)
    with pytest.raises(DeadlineExceeded):
        calls[1].result(10)
    assert calls[2].result(10)["y"] == [6]
    assert crowd.gate.runs == [[0], [3]]
    assert [crowd.count(what) for what in ("executed", "cancelled", "expired", "failed")] == [2, 1, 1, 0]


def test_a_failure_is_its_own(crowd: Crowd) -> None:
    """A call that the graph fails on fails alone; those beside it are run again without it."""
    calls = [crowd.call(Job(), k) for k in (1, -1, 3)]
    crowd.gate.open.set()
    assert [int(calls[k].result(10)["y"][0]) for k in (0, 2)] == [2, 6]
    with pytest.raises(ValueError, match="negative"):
        calls[1].result(10)
    assert crowd.gate.runs == [[0], [1, -1, 3], [1], [-1], [3]]
    assert (crowd.count("executed"), crowd.count("failed")) == (3, 1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=9), min_size=1, max_size=12))
def test_everybody_gets_their_own_answer(given: list[list[int]]) -> None:
    """However calls of different sizes and jobs meet, each gets what it gets alone, and no run is above the limit."""
    crowd = Crowd(limit=5)
    jobs = [Job() for _ in range(3)]
    calls = [crowd.call(jobs[k % 3], *values) for k, values in enumerate(given)]
    crowd.gate.open.set()
    for values, call in zip(given, calls, strict=True):
        assert call.result(10)["y"].tolist() == [2 * value for value in values]
    assert max(map(len, crowd.gate.runs)) <= 5
    crowd.close()


def test_observers_are_told(crowd: Crowd) -> None:
    """A run is told with its size and how long each of its calls had waited."""
    told: list[tuple[str, int, int]] = []

    class Watcher:
        def counted(self, where: str, outcome: str) -> None: ...

        def batch(self, graph: str, size: int, waited: list[float], seconds: float) -> None:
            assert min(*waited, seconds) >= 0
            told.append((graph, size, len(waited)))

    crowd.stats.observers.append(Watcher())  # type: ignore[arg-type]
    calls = [crowd.call(Job(), 1, 1), crowd.call(Job(), 2)]
    crowd.gate.open.set()
    for call in calls:
        call.result(10)
    assert told == [("g", 1, 1), ("g", 3, 2)]


def test_a_call_that_finds_nothing_under_way_is_run_where_it_comes_from() -> None:
    """No thread is waited for; who comes meanwhile waits in line for that of the batcher."""
    threads: list[str] = []

    def graph(inputs: Arrays) -> Arrays:
        threads.append(threading.current_thread().name)
        if len(threads) == 1:
            others.extend(batcher.submit(Job(), inputs))
        return inputs

    others: list[Future[Arrays]] = []
    batcher = Batcher("here", graph, 4)
    for expected in (["here", "graph-here_0"], ["here", "graph-here_0", "here"]):
        caller = threading.Thread(target=batcher, args=(Job(),), kwargs={"x": np.zeros(1)}, name="here")
        caller.start()
        caller.join(10)
        others[0].result(10)
        assert threads == expected
    over = Job()
    over.cancel()
    with pytest.raises(Cancelled):
        batcher(over, x=np.zeros(1))
    assert batcher(Job(), x=np.ones(1))["x"] == 1


def test_lanes_run_at_once_what_would_wait() -> None:
    """As many runs as there are lanes are under way at once, and no more; those after them share a run."""
    gate = Gate()
    batcher = Batcher("lanes", gate, 4, lanes=2)

    def begun(k: int) -> Future[Arrays]:
        (answer,) = batcher.submit(Job(), {"x": np.array([k])})
        assert gate.begun.acquire(timeout=10)
        return answer

    answers = [begun(k) for k in range(2)]
    answers += [batcher.submit(Job(), {"x": np.array([k])})[0] for k in (2, 3)]
    assert not gate.begun.acquire(timeout=0.2)
    gate.open.set()
    assert [int(answer.result(10)["y"][0]) for answer in answers] == [0, 2, 4, 6]
    assert sorted(gate.runs) == [[0], [1], [2, 3]]
    assert gate.begun.acquire(timeout=10)
    gate.open.clear()
    answers = [begun(k) for k in range(2)]  # both lanes are free again
    gate.open.set()
    assert [int(answer.result(10)["y"][0]) for answer in answers] == [0, 2]


def test_parts_of_a_call_run_in_all_lanes_that_are_free() -> None:
    """A call that is cut fills them, from wherever it is made, and its parts come back in order."""
    both = threading.Barrier(2)

    def run(inputs: Arrays) -> Arrays:
        both.wait(10)  # breaks unless two runs are under way
        return {"y": 2 * inputs["x"]}

    batcher = Batcher("parts", run, 1, lanes=2)
    assert batcher(Job(), x=np.arange(4))["y"].tolist() == [0, 2, 4, 6]
    answers = batcher.submit(Job(), {"x": np.arange(4)})
    assert [int(answer.result(10)["y"][0]) for answer in answers] == [0, 2, 4, 6]


def test_answers_that_were_cancelled(crowd: Crowd) -> None:
    """Whoever cancels an answer, before its run or in it, leaves the others theirs."""
    answers = [crowd.batcher.submit(Job(), {"x": np.array([k])})[0] for k in (1, 2)]
    assert answers[0].cancel()
    crowd.gate.open.set()
    assert answers[1].result(10)["y"] == 4
    assert crowd.count("cancelled") == 1
    crowd.gate.open.clear()
    (running,) = crowd.batcher.submit(Job(), {"x": np.array([3])})
    assert crowd.gate.begun.acquire(timeout=10)
    assert crowd.gate.begun.acquire(timeout=10)
    assert not running.cancel()
    crowd.gate.open.set()
    assert running.result(10)["y"] == 6


def test_the_thread_ends_with_its_batcher() -> None:
    """A model that is unloaded leaves no thread behind."""
    batcher = Batcher("ends", lambda inputs: inputs, 4)
    batcher.submit(Job(), {"x": np.zeros(1)})[0].result()
    (thread,) = (t for t in threading.enumerate() if t.name.startswith("graph-ends"))
    del batcher
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
