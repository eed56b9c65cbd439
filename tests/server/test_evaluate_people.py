"""Counting what goes wrong with several people, on answers that can be counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.server.painted import STANDING, circle_rig

from synpose.skeleton import BODY27, COCO17
from synpose_server.evaluate_people import measure_people
from synpose_server.rendered_clip import RenderedClip

Array = NDArray[np.float64]

POSE: Array = BODY27.reads_from(COCO17) @ STANDING
LEFT, RIGHT = POSE + (-1, 0, 0), POSE + (1, 0, 0)


def clip(frames: int) -> RenderedClip:
    """Two people who stand two metres apart, at one frame a second."""
    first, second = (np.repeat(pose[None], frames, 0) for pose in (LEFT, RIGHT))
    return RenderedClip(
        "pair", circle_rig(2), {}, first, np.zeros((2, frames, 27), np.uint8), 1.0, "", False, (second,)
    )


def test_exact_answers_have_no_fault() -> None:
    """Whatever the ids are, as long as they stay."""
    m = measure_people("m", clip(6), [{7: RIGHT, 3: LEFT}] * 6)
    assert (m.missed, m.invented, m.switches, m.switches_per_minute, m.mota) == (0, 0, 0, 0, 1)
    assert m.mpjpe == pytest.approx(0)


def test_ids_that_change_hands_are_counted() -> None:
    """An exchange is two switches, a new id is one; at one frame a second four frames are a fifteenth of a minute."""
    said = [{0: LEFT, 1: RIGHT}, {1: LEFT, 0: RIGHT}, {1: LEFT, 0: RIGHT}, {2: LEFT, 0: RIGHT}]
    m = measure_people("m", clip(4), said)
    assert (m.missed, m.invented, m.switches) == (0, 0, 3)
    assert m.switches_per_minute == pytest.approx(45)
    assert m.mota == pytest.approx(1 - 3 / 8)


def test_the_missed_and_the_invented_are_counted() -> None:
    """Someone far from everybody is invented; who was away and comes back under the old id is no switch."""
    said = [{0: LEFT, 1: RIGHT}, {0: LEFT, 5: POSE + (0, 3, 0)}, {0: LEFT + (0.1, 0, 0), 1: RIGHT}]
    m = measure_people("m", clip(3), said)
    assert (m.missed, m.invented, m.switches) == (1, 1, 0)
    assert m.mpjpe == pytest.approx(100 / 5)


def test_nobody_found_is_everybody_missed() -> None:
    """No error can be told of nobody."""
    m = measure_people("m", clip(2), [{}, {}])
    assert (m.missed, m.invented, m.mota) == (4, 0, 0)
    assert math.isnan(m.mpjpe)
