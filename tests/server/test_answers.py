"""Answers of a long stream: what is known of people's limbs stays bounded."""

from __future__ import annotations

import numpy as np
import pytest
from tests.server.painted import STANDING, circle_rig

from synpose.skeleton import COCO17
from synpose_server import answers
from synpose_server.answers import Answers
from synpose_server.track import TrackedPerson


def person(id: int) -> TrackedPerson:
    zeros = np.zeros((2, 17, 3))
    return TrackedPerson(
        id, STANDING, np.full(17, 0.02), zeros[..., 0], zeros, zeros, np.zeros((2, 1)), np.ones(2, bool), zeros
    )


def test_limbs_of_people_who_are_long_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who were seen last are remembered, however many came and went."""
    monkeypatch.setattr(answers, "_MOST_KNOWN", 4)
    made = Answers(COCO17, COCO17, circle_rig(2))
    made.frame(0, 0.0, [person(0)], ())
    known = made._limbs[0]
    for index in range(1, 50):
        made.frame(index, index / 30, [person(0), person(index)], ())
    assert set(made._limbs) == {0, 47, 48, 49}
    assert made._limbs[0] is known
