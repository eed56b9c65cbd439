"""One batcher a graph: the calls of all clips, sessions and doors meet here and take turns."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from synpose_server.cores import step_back
from synpose_server.job import Cancelled, Job
from synpose_server.stats import Stats

__all__ = ["Arrays", "Batcher", "count", "joined"]

Arrays: TypeAlias = dict[str, NDArray[Any]]


@dataclass(eq=False, slots=True)
class _Call:
    job: Job
    inputs: Arrays
    answer: Future[Arrays] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)

    @property
    def size(self) -> int:
        return count(self.inputs)

    @property
    def kind(self) -> tuple[object, ...]:
        """Calls of one kind can share a run."""
        return tuple((name, value.shape[1:], value.dtype) for name, value in self.inputs.items())


class Batcher:
    """Runs `run` for calls from any thread, as many in one run as wait and fit, `lanes` runs at a time.

    `run` takes and gives arrays by name, all with one leading axis of items, and must treat each item alone. A run has
    at most `limit` items; larger calls are cut. It does not wait for company. Jobs take turns, call by call, so one
    with many calls cannot hold up the others; calls of a job keep their order. Calls of a job that is over are never
    run. A call that finds a lane free is run where it comes from; others in threads of the batcher, which end with the
    last reference to it, and so are the further parts of one that is cut, in lanes that are free.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Arrays], Arrays],
        limit: int,
        stats: Stats | None = None,
        lanes: int = 1,
    ) -> None:
        self.name, self.limit = name, limit
        self.stats = Stats() if stats is None else stats
        self._run = run
        self._lock = threading.Lock()
        self._waiting: OrderedDict[Job, deque[_Call]] = OrderedDict()  # whose turn is next comes first
        self._free = lanes
        self._threads = ThreadPoolExecutor(lanes, f"graph-{name}", step_back)

    def __call__(self, job: Job, /, **inputs: NDArray[Any]) -> Arrays:
        """The outputs for `inputs`; blocks. Raises what `run` raised, or as `Job.check` where the job was over."""
        calls = self._calls(job, inputs)
        if self._submit(job, calls, here=True):
            with self._lock:
                batch = self._take()
            try:
                if batch:
                    self._execute(batch)
            finally:
                self._go_on()
        return joined([call.answer.result() for call in calls])

    def submit(self, job: Job, inputs: Arrays) -> list[Future[Arrays]]:
        """The outputs to come for each part that `inputs` are cut into; to be `joined`."""
        calls = self._calls(job, inputs)
        self._submit(job, calls)
        return [call.answer for call in calls]

    def _calls(self, job: Job, inputs: Arrays) -> list[_Call]:
        return [
            _Call(job, {name: value[start : start + self.limit] for name, value in inputs.items()})
            for start in range(0, count(inputs), self.limit)
        ]

    def _submit(self, job: Job, calls: Sequence[_Call], *, here: bool = False) -> bool:
        """Puts `calls` in line; whether the next run is to be made `here`, as a lane is free."""
        with self._lock:
            self._waiting.setdefault(job, deque()).extend(calls)
            lanes = min(self._free, len(calls))
            self._free -= lanes
            here = here and lanes > 0
            for _ in range(lanes - here):
                self._threads.submit(self._drain)
            return here

    def _go_on(self) -> None:
        """After a run elsewhere: a thread makes those that have come to wait meanwhile."""
        with self._lock:
            if self._waiting:
                self._threads.submit(self._drain)
            else:
                self._free += 1

    def _drain(self) -> None:
        while True:
            with self._lock:
                batch = self._take()
                if not batch:
                    self._free += 1
                    return
            self._execute(batch)

    def _take(self) -> list[_Call]:
        """The calls of the next run, none if nothing waits: one of each job in turn, while there are any that fit."""
        batch: list[_Call] = []
        room, found = self.limit, True
        while found and room:
            found = False
            for job in tuple(self._waiting):
                calls = self._waiting[job]
                call, end = calls[0], job.end
                if end is None and batch and (call.size > room or call.kind != batch[0].kind):
                    continue
                calls.popleft()
                self._waiting.move_to_end(job)
                if not calls:
                    del self._waiting[job]
                found = True
                if not call.answer.set_running_or_notify_cancel():  # nobody may give it an answer any more
                    self.stats.count(self.name, "cancelled")
                elif end is None:
                    batch.append(call)
                    room -= call.size
                else:
                    self.stats.count(self.name, "cancelled" if isinstance(end, Cancelled) else "expired")
                    call.answer.set_exception(end)
        return batch

    def _execute(self, batch: Sequence[_Call]) -> None:
        started = time.monotonic()
        try:
            answers = self._together([call.inputs for call in batch])
        except BaseException as error:
            if len(batch) > 1:  # whoever's it is must not fail the others
                for call in batch:
                    self._execute([call])
                return
            self.stats.count(self.name, "failed")
            batch[0].answer.set_exception(error)
            return
        seconds = time.monotonic() - started
        self.stats.batch(self.name, sum(call.size for call in batch), [started - call.since for call in batch], seconds)
        for call, answer in zip(batch, answers, strict=True):
            self.stats.count(self.name, "executed")
            call.answer.set_result(answer)

    def _together(self, inputs: Sequence[Arrays]) -> list[Arrays]:
        if len(inputs) == 1:
            return [self._run(inputs[0])]
        ends = np.cumsum([count(arrays) for arrays in inputs])
        answer = self._run(joined(inputs))
        parts = {name: np.split(value, ends[:-1]) for name, value in answer.items()}
        return [{name: parts[name][k] for name in parts} for k in range(len(inputs))]


def count(arrays: Arrays) -> int:
    """How many items `arrays` hold."""
    return len(next(iter(arrays.values())))


def joined(parts: Sequence[Arrays]) -> Arrays:
    """The items of all parts, in order."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
