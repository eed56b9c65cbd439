"""Threads of a run: all of them alone, a share among others."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from functools import partial

import pytest

from synpose_server.lanes import Lanes


@pytest.mark.parametrize(
    ("threads", "widths"), [(1, (1,)), (2, (2, 1)), (4, (4, 1)), (6, (6, 4, 1)), (16, (16, 4, 1)), (32, (32, 16, 4, 1))]
)
def test_widths(threads: int, widths: tuple[int, ...]) -> None:
    assert Lanes(threads).widths == widths


def test_a_run_gets_what_others_leave() -> None:
    """Never more than its share when it begins, never none, and all again once the others are over."""
    lanes = Lanes(16)
    with ExitStack() as runs:
        assert [runs.enter_context(lanes.run()) for _ in range(18)] == [16, 8, 5, 4, 3, 2, 2, 2, *[1] * 10]
    with lanes.run() as threads:
        assert threads == 16
    with pytest.raises(ZeroDivisionError), lanes.run():
        raise ZeroDivisionError
    with lanes.run() as threads:
        assert threads == 16


@pytest.mark.parametrize(
    ("threads", "share", "items", "rounds"),
    [
        (1, 1, 3, [(1, [3])]),
        (2, 2, 1, [(2, [1])]),
        (2, 2, 4, [(1, [2, 2])]),
        (2, 2, 5, [(1, [2, 2]), (2, [1])]),
        (2, 1, 4, [(1, [4])]),
        (8, 8, 4, [(4, [2, 2])]),
        (16, 16, 6, [(4, [1, 1, 1, 1]), (16, [2])]),
        (16, 5, 3, [(4, [3])]),
        (6, 3, 4, [(1, [1, 1, 1]), (1, [1])]),
        (6, 3, 2, [(1, [1, 1])]),
    ],
)
def test_items_of_a_run_fill_its_threads(
    threads: int, share: int, items: int, rounds: list[tuple[int, list[int]]]
) -> None:
    """On one thread each as far as they fill them; every item is in one part, in order."""
    made = Lanes(threads).rounds(items, share)
    assert [(width, [part.stop - part.start for part in parts]) for width, parts in made] == rounds
    assert [k for _, parts in made for part in parts for k in range(items)[part]] == list(range(items))


@pytest.mark.parametrize(("threads", "others", "at_once"), [(2, 0, 2), (3, 0, 3), (2, 1, 1), (1, 0, 1)])
def test_each_of_many_on_the_threads_that_others_leave(threads: int, others: int, at_once: int) -> None:
    """In their order; no more at once than there are free threads."""
    lanes, lock, counts, used = Lanes(threads), threading.Lock(), [0], set()

    def call(k: int) -> int:
        with lock:
            counts.append(counts[-1] + 1)
            used.add(threading.get_ident())
        time.sleep(0.01)
        with lock:
            counts.append(counts[-1] - 1)
        return -k

    with ExitStack() as runs:
        for _ in range(others):
            runs.enter_context(lanes.run())
        assert lanes.each(call, range(7)) == [-k for k in range(7)]
        assert lanes.each(call, []) == []
    assert max(counts) == len(used) == at_once
    with pytest.raises(ZeroDivisionError):
        lanes.each(lambda k: 1 // k, [1, 0, 1])


def test_parts_run_together_and_fail_together() -> None:
    """Calls meet each other; what one raises is raised when all are over."""
    lanes, meet, over = Lanes(2), threading.Barrier(2, timeout=20), []

    def call(name: str, fails: bool) -> str:
        meet.wait()
        over.append(name)
        if fails:
            raise ZeroDivisionError(name)
        return name

    assert lanes.together([partial(call, "a", False), partial(call, "b", False)]) == ["a", "b"]
    for failing in "ab":
        over.clear()
        with pytest.raises(ZeroDivisionError, match=failing):
            lanes.together([partial(call, name, name == failing) for name in "ab"])
        assert sorted(over) == ["a", "b"]
