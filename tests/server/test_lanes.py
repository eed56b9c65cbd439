"""Threads of a run: all of them alone, a share among others."""

from __future__ import annotations

from contextlib import ExitStack

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
        assert [runs.enter_context(lanes.run()) for _ in range(18)] == [16, *[4] * 3, *[1] * 14]
    with lanes.run() as threads:
        assert threads == 16
    with pytest.raises(ZeroDivisionError), lanes.run():
        raise ZeroDivisionError
    with lanes.run() as threads:
        assert threads == 16
