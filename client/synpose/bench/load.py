"""Loops that put load on a door: closed (so many clients, each waits for its answer) and open (so many a second)."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

from synpose.bench.doors import Door
from synpose.bench.measured import Answer, Report
from synpose.bench.workload import Workload
from synpose.errors import InvalidInput

__all__ = ["Load", "closed_loop", "open_loop"]

_MOST_OPEN = 4096  # requests under way in an open loop


@dataclass(frozen=True)
class Load:
    """How long a load goes on: `seconds`, or until `count` frame sets were sent, whichever is first.

    `deadline` (seconds) goes with every request; with `tells` false the server is not told of it.
    """

    seconds: float = 10.0
    count: int | None = None
    deadline: float | None = None
    tells: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("seconds", "count", "deadline"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InvalidInput(f"{name} must be above 0, not {value:g}", field=name)

    @property
    def told(self) -> float | None:
        """The deadline that goes with a request."""
        return self.deadline if self.tells else None


async def closed_loop(door: Door, workload: Workload, load: Load, clients: int) -> Report:
    """`clients` send one frame set after another, each when the last one was answered."""
    start, numbers, answers = time.perf_counter(), itertools.count(), list[Answer]()

    async def client(chance: Random) -> None:
        while (due := time.perf_counter() - start) < load.seconds:
            number = next(numbers)
            if load.count is not None and number >= load.count:
                return
            status = await door.ask(workload.frame_set(number, chance), load.told)
            answers.append(Answer(due, time.perf_counter() - start - due, status))

    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(client(Random(load.seed + number)))
    return Report(answers, time.perf_counter() - start, load.deadline)


async def open_loop(
    door: Door, workload: Workload, load: Load, rate: float, arrivals: Literal["poisson", "constant"] = "poisson"
) -> Report:
    """`rate` frame sets a second are sent, whatever becomes of those before.

    A request's time counts from when it was due, so a client that falls behind hides nothing.
    """
    chance, answers = Random(load.seed), list[Answer]()
    start = time.perf_counter()

    async def send(number: int, due: float) -> None:
        status = await door.ask(workload.frame_set(number, chance), load.told)
        answers.append(Answer(due, time.perf_counter() - start - due, status))

    under_way: set[asyncio.Task[None]] = set()
    async with asyncio.TaskGroup() as group:
        for number, due in enumerate(_moments(rate, arrivals, chance)):
            if due >= load.seconds or number == load.count:
                break
            await asyncio.sleep(max(0.0, start + due - time.perf_counter()))
            if len(under_way) >= _MOST_OPEN:
                raise InvalidInput(f"{_MOST_OPEN} requests wait for their answers; offer less", field="rate")
            task = group.create_task(send(number, due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
    last = max((answer.due + answer.seconds for answer in answers), default=0.0)
    return Report(sorted(answers, key=lambda answer: answer.due), max(last, min(load.seconds, last)), load.deadline)


def _moments(rate: float, arrivals: str, chance: Random) -> Iterator[float]:
    """Seconds from the start, without end."""
    moment = 0.0
    while True:
        moment += chance.expovariate(rate) if arrivals == "poisson" else 1 / rate
        yield moment
