"""Admission: places, the line before them, and who is told at once that the answer would be too late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from synpose.errors import DeadlineExceeded, Overloaded, to_problem
from synpose_server.admission import Admission
from synpose_server.job import Job
from synpose_server.pace import Pace, Place
from synpose_server.stats import Stats


class Line:
    """Admission with estimates that hold their place until they are told to leave."""

    def __init__(self, places: int = 1, most: int = 8, patience: float = 10.0) -> None:
        self.stats = Stats()
        self.admission = Admission(places, most, patience, self.stats)
        self.order: list[str] = []

    def learn(self, seconds: float) -> None:
        """An image costs `seconds`, for sure."""
        pace = self.admission._paces["default"]
        for _ in range(200):
            pace.add(1, True, seconds)
            pace.add(1, False, seconds)

    def enter(self, name: str, leave: asyncio.Event, job: Job | None = None, sets: int = 1) -> asyncio.Task[None]:
        async def run() -> None:
            async with self.admission.place(Job() if job is None else job, 1, sets):
                self.order.append(name)
                await leave.wait()

        return asyncio.create_task(run())

    def counted(self) -> dict[str, int]:
        return {outcome: n for (_, outcome), n in self.stats.counts.items()}


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def age(pace: Pace) -> None:
    """What it has learned is of long ago."""
    for level in pace._levels.values():
        level.learned -= 100


def test_places_are_given_in_order() -> None:
    """As many as there are places begin; the others in the order in which they came."""

    async def test() -> None:
        line, leave = Line(places=2), asyncio.Event()
        tasks = [line.enter(name, leave) for name in "abcd"]
        await settle()
        assert line.order == ["a", "b"]
        assert (line.admission.running, line.admission.waiting) == (2, 2)
        leave.set()
        await asyncio.gather(*tasks)
        assert line.order == ["a", "b", "c", "d"]
        assert (line.admission.running, line.admission.waiting) == (0, 0)
        assert line.counted() == {"executed": 4}

    run(test())


def test_the_line_is_bounded() -> None:
    """Who finds it full is told at once, and nobody else is harmed."""

    async def test() -> None:
        line, leave = Line(most=1), asyncio.Event()
        tasks = [line.enter(name, leave) for name in "abc"]
        await settle()
        with pytest.raises(Overloaded, match="1 requests are waiting"):
            line.admission.check(Job())
        with pytest.raises(Overloaded):
            await tasks[2]
        leave.set()
        await asyncio.gather(*tasks[:2])
        assert line.counted() == {"executed": 2, "rejected": 2}

    run(test())


def test_patience_ends() -> None:
    """Without a deadline one waits as long as the settings say."""

    async def test() -> None:
        line, leave = Line(patience=0.01), asyncio.Event()
        first = line.enter("a", leave)
        await settle()
        with pytest.raises(Overloaded, match="busy with other clips"):
            await line.enter("b", leave)
        leave.set()
        await first

    run(test())


def test_who_stops_waiting_leaves_the_line() -> None:
    """A cancelled wait takes no place, also when the place comes in the same moment."""

    async def test() -> None:
        line, leave = Line(), asyncio.Event()
        async with line.admission.place(Job(), 1):
            b, c, d = (line.enter(name, leave) for name in "bcd")
            await settle()
            c.cancel()
            await settle()
            assert line.admission.waiting == 2
        b.cancel()  # it has been given the place, but has not run yet
        leave.set()
        await asyncio.wait((b, c, d))
        assert line.order == ["d"]
        assert line.counted() == {"executed": 2, "cancelled": 2}
        assert line.admission.running == 0

    run(test())


def test_who_would_be_late_is_told_at_once() -> None:
    """The line and one's own length count: what fits is let in, what does not is refused with the time to come back."""

    async def test() -> None:
        line, leave = Line(), asyncio.Event()
        line.learn(1.0)
        a = line.enter("a", leave, sets=5)
        await settle()
        with pytest.raises(Overloaded, match="longer than its deadline") as caught:
            await line.enter("b", leave, Job(5.5))
        assert caught.value.retry_after == pytest.approx(5, abs=0.5)
        with pytest.raises(Overloaded):
            line.admission.check(Job(5.5))
        line.admission.check(Job(7))
        c = line.enter("c", leave, Job(8), sets=2)
        await settle()
        with pytest.raises(Overloaded):
            await line.enter("d", leave, Job(7.5))  # c, before it, makes it late
        e = line.enter("e", leave, Job(9))
        await settle()
        leave.set()
        await asyncio.gather(a, c, e)
        assert line.order == ["a", "c", "e"]
        assert line.counted() == {"executed": 3, "rejected": 3}

    run(test())


def test_what_might_be_late_is_told_at_the_door_only() -> None:
    """A newcomer needs to be surely in time, behind others who may take longer; who was let in only likely."""

    async def test() -> None:
        line, leave = Line(), asyncio.Event()
        pace = line.admission._paces["default"]
        for seconds in (0.5, 1.5) * 100:
            pace.add(1, True, seconds)
        doubt = pace.doubt(1, 1, 0)
        assert 0.3 < doubt < 0.7
        a = line.enter("a", leave, Job(pace.seconds(1, 1, 0) + 0.5 * doubt))  # while a place is free, likely is enough
        await settle()
        likely = 2 * pace.seconds(1, 1, 0)  # after a, which has not begun
        with pytest.raises(Overloaded):
            await line.enter("b", leave, Job(likely + 2.5 * doubt))  # sure were a in time, but a may be late, too
        c = line.enter("c", leave, job := Job(likely + 3 * doubt))
        await settle()
        job.deadline = time.monotonic() + pace.seconds(1, 1, 0) + 0.5 * doubt
        leave.set()
        await asyncio.gather(a, c)
        assert line.order == ["a", "c"]

    run(test())


def test_the_smallest_so_far_is_asked_for_before_the_body() -> None:
    """What is not known yet is taken to have as many images as the smallest that ever ran."""

    async def test() -> None:
        line, leave = Line(), asyncio.Event()
        pace = line.admission._paces["default"]
        for images in (4, 3, 4):
            pace.add(images, True, images * 1.0)
        for _ in range(200):
            pace.add(4, True, 4.0)
        a = line.enter("a", leave)  # of one image
        await settle()
        line.admission.check(Job(4.1))
        with pytest.raises(Overloaded):
            line.admission.check(Job(3.9))
        leave.set()
        await a

    run(test())


def test_a_model_that_never_ran_tells_nothing() -> None:
    """Before the body only paces that were learned count: one of nothing would let everybody in."""

    async def test() -> None:
        line, leave = Line(), asyncio.Event()
        line.learn(5.0)
        a = line.enter("a", leave)
        await settle()
        with pytest.raises(Overloaded):
            async with line.admission.place(Job(1), 1, model="other"):
                pass
        with pytest.raises(Overloaded):
            line.admission.check(Job(5.5))
        leave.set()
        await a

    run(test())


def test_whose_deadline_passes_in_the_line_never_begins() -> None:
    """Expired in the line: told so when the deadline passes. Hopeless when its turn comes: passed over."""

    async def test() -> None:
        line, leave = Line(), asyncio.Event()
        a = line.enter("a", leave)
        await settle()
        with pytest.raises(DeadlineExceeded):
            await line.enter("b", leave, Job(0.01))
        c, d = line.enter("c", leave, job := Job(60)), line.enter("d", leave)
        await settle()
        line.learn(1.0)
        job.deadline = time.monotonic() + 0.5
        leave.set()
        with pytest.raises(Overloaded):
            await c
        await asyncio.gather(a, d)
        assert line.order == ["a", "d"]
        assert line.counted() == {"executed": 2, "expired": 1, "rejected": 1}

    run(test())


def test_no_wait_is_told_where_none_would_help() -> None:
    """An answer that takes longer than its deadline with nobody before it says no seconds to wait."""
    pace = Pace()
    pace.add(2, True, 2.0)
    with pytest.raises(Overloaded, match="longer than its deadline") as caught:
        Place(Job(0.5), 2, 1, pace).check()
    assert "retry_after" not in to_problem(caught.value)


def test_a_place_learns_and_tells_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first frame set has a pace of its own; time that has passed in one does not count twice."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pace = Pace()
    for seconds in (3.0, 1.0):
        place = Place(Job(), 2, None if seconds == 3 else 3, pace)
        for took in (seconds, 0.5, 0.5):
            place.begin()
            now += took
            place.end()
    fresh = Place(Job(), 4, 11, pace)
    first, later = (0.9 * 3 + 0.1) / 2, 0.5 / 2  # seconds an image
    assert fresh.seconds() == pytest.approx(4 * (first + 10 * later))
    fresh.begin()
    now += 1
    assert fresh.seconds() == pytest.approx(4 * (first + 10 * later) - 1)
    fresh.end()
    assert fresh.seconds() < 4 * 10 * later + 1e-6
    fresh.expect(5)
    assert fresh.seconds() == pytest.approx(4 * 4 * later)


def test_an_old_pace_is_tried_anew() -> None:
    """When nothing was learned for a while, one that would be late is let in, and a better pace is believed soon."""

    async def test() -> None:
        line, leave = Line(places=2), asyncio.Event()
        line.learn(5.0)
        pace = line.admission._paces["default"]
        with pytest.raises(Overloaded):
            line.admission.check(Job(0.5))
        age(pace)
        line.admission.check(Job(0.5))
        tasks = [line.enter(name, leave, Job(0.5)) for name in "ab"]
        await settle()
        assert line.order == ["a"]
        with pytest.raises(Overloaded):
            await tasks[1]
        leave.set()
        await tasks[0]
        for _ in range(8):
            age(pace)
            pace.add(1, True, 0.1)
        line.admission.check(Job(1.0))

    run(test())


def learn_company(line: Line, alone: float, together: float) -> None:
    """An image costs so many seconds alone and beside another, for sure."""
    pace = line.admission._paces["default"]
    for _ in range(200):
        for beside, seconds in enumerate((alone, together)):
            pace.add(1, True, seconds, beside)
            pace.add(1, False, seconds / 100, beside)


def test_who_would_be_late_beside_another_waits() -> None:
    """One after the other where both at once would be late; at once where there is time."""

    async def test() -> None:
        for seconds, begun in ((3.5, ["a"]), (4.5, ["a", "b"])):
            line, leave = Line(places=2), asyncio.Event()
            learn_company(line, 1.0, 4.0)
            tasks = [line.enter(name, leave, Job(seconds)) for name in "ab"]
            await settle()
            assert line.order == begun
            leave.set()
            await asyncio.gather(*tasks)
            assert line.order == ["a", "b"]

    run(test())


def test_nobody_is_let_in_who_makes_another_late() -> None:
    """Who has all the time there is waits for one that has not, and is not overtaken meanwhile."""

    async def test() -> None:
        line, leave = Line(places=2), asyncio.Event()
        learn_company(line, 1.0, 4.0)
        tasks = [line.enter("a", leave, Job(3.5)), line.enter("b", leave), line.enter("c", leave)]
        await settle()
        assert line.order == ["a"]
        with pytest.raises(Overloaded):  # alone, after a and b
            await line.enter("d", leave, Job(1.5))
        leave.set()
        await asyncio.gather(*tasks)
        assert line.order == ["a", "b", "c"]

    run(test())


def test_a_long_clip_does_not_keep_others_out() -> None:
    """What takes longer than a newcomer shares the cores, though its deadline is near."""

    async def test() -> None:
        line, leave = Line(places=2), asyncio.Event()
        learn_company(line, 1.0, 4.0)
        a = line.enter("a", leave, Job(3.5), sets=101)
        await settle()
        b = line.enter("b", leave)
        await settle()
        assert line.order == ["a", "b"]
        leave.set()
        await asyncio.gather(a, b)

    run(test())


def test_the_next_begins_when_the_first_in_line_gives_up() -> None:
    """One that waited for a turn alone holds up those behind it no longer."""

    async def test() -> None:
        line, leave = Line(places=2), asyncio.Event()
        learn_company(line, 1.0, 4.0)
        a = line.enter("a", leave)
        await settle()
        b, c = line.enter("b", leave, Job(3.5)), line.enter("c", leave)
        await settle()
        assert line.order == ["a"]
        b.cancel()
        await settle()
        assert line.order == ["a", "c"]
        leave.set()
        await asyncio.gather(a, c)

    run(test())


def test_company_has_a_pace_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not seen is tried; what was not seen for long is tried again; halves of the time count as halves."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pace = Pace()
    pace.add(1, True, 6.0, 2)
    assert [pace.seconds(1, 1, 0, beside) for beside in range(4)] == pytest.approx([2, 4, 6, 6])
    place = Place(Job(), 1, 1, pace)
    place.begin()
    place.share(1)
    now += 0.7
    place.share(0)
    now += 0.3
    place.end()
    assert pace.seconds(1, 1, 0, 1) == pytest.approx(1)
    assert pace.seconds(1, 1, 0) == pytest.approx(0.5)
    now += 28
    pace.add(1, True, 0.8)
    assert [pace.seconds(1, 1, 0, beside) for beside in range(3)] == pytest.approx([0.8, 1, 6])
    now += 2
    pace.add(1, True, 0.8)
    assert [pace.seconds(1, 1, 0, beside) for beside in range(3)] == pytest.approx([0.8, 0.8, 0.8])


def test_the_company_is_chosen_in_which_one_is_done_first() -> None:
    """Beside another it would be late; alone, once both that run are done, it is not."""

    async def test() -> None:
        line, leave = Line(places=2), asyncio.Event()
        learn_company(line, 1.0, 4.0)
        tasks = [line.enter("a", leave), line.enter("b", leave), line.enter("c", leave, Job(6.0))]
        await settle()
        assert line.admission.waiting == 1
        with pytest.raises(Overloaded):
            await line.enter("d", leave, Job(4.5))
        leave.set()
        await asyncio.gather(*tasks)

    run(test())


def test_a_company_that_only_began_or_only_went_on_says_nothing_of_the_other() -> None:
    """First and later frame sets are known apart: what was not seen beside others is taken from those alone."""
    pace = Pace()
    pace.add(1, True, 8.0)
    pace.add(1, False, 2.0)
    pace.add(1, True, 12.0, 1)
    pace.add(1, False, 3.0, 2)
    assert pace.seconds(1, 1, 10, 1) == pytest.approx(12 + 10 * 2)
    assert pace.seconds(1, 1, 10, 2) == pytest.approx(12 + 10 * 3)
    assert pace.doubt(1, 1, 0, 1) == pytest.approx(6)


def test_who_runs_knows_its_company() -> None:
    """What a frame set took is learned as of the company that it had, which comes and goes."""

    async def test() -> None:
        line = Line(places=2)
        pace = line.admission._paces["default"]
        async with line.admission.place(Job(), 1, 3) as place:
            async with line.admission.place(Job(), 1):
                place.begin()
                time.sleep(0.01)
                place.end()
            assert list(pace._levels) == [1]
            place.begin()
            time.sleep(0.01)
            place.end()
            assert sorted(pace._levels) == [0, 1]

    run(test())
