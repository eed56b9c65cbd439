"""Measuring a clip again and again with other cameras: windows as the engine has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.server.painted import STANDING, PaintedModel, bundle, circle_rig, painted

from synpose_server import evaluate_clip
from synpose_server.evaluate_clip import _Lifter
from synpose_server.runtime import Readings
from synpose_server.track import TrackedPerson, Tracker

Array = NDArray[np.float64]


@dataclass
class Windowed(PaintedModel):
    """Moves the joints of each instant 3 cm for each other of its window: along x for those before, y for those after.

    Its tokens are the views' numbers.
    """

    bundle: SimpleNamespace = field(default_factory=lambda: bundle(window=5, look_ahead=2))

    def read(self, crops: NDArray[np.uint8], expected: NDArray[np.float64] | None = None) -> Readings:
        return super().read(crops)._replace(tokens=np.array(self.crops[-1], float)[:, None])

    def relate(
        self,
        origins: Array,
        directions: Array,
        scores: Array,
        view_mask: NDArray[np.bool_],
        tokens: Array | None = None,
    ) -> tuple[Array, Array, Array]:
        assert tokens is not None
        assert (tokens[..., 0] == np.arange(tokens.shape[2]))[view_mask].all()
        joints, sigma, weights = super().relate(origins, directions, scores, view_mask)
        there = view_mask.any(-1).astype(float)  # (B, T)
        before, after = there.cumsum(1) - there, there[:, ::-1].cumsum(1)[:, ::-1] - there
        return joints + 0.03 * np.stack((before, after, 0 * after), -1)[:, :, None], sigma, weights


def follow(model: PaintedModel, frames: int) -> list[TrackedPerson]:
    tracker = Tracker(model, model.rig, 1)  # type: ignore[arg-type]
    return [tracker.step([painted(v) for v in range(len(model.rig))])[0] for _ in range(frames)]


@pytest.mark.parametrize("chunk", [64, 3])
@pytest.mark.parametrize("frames", [1, 2, 8])
def test_each_instant_stands_in_its_window_as_in_a_clip(
    monkeypatch: pytest.MonkeyPatch, frames: int, chunk: int
) -> None:
    """Two before and two after, fewer at both ends of the clip, however the windows are put into runs."""
    monkeypatch.setattr(evaluate_clip, "_CHUNK", chunk)
    model = Windowed(circle_rig(4), [STANDING])
    person = follow(model, frames)
    joints = _Lifter(model, model.rig, person)(range(4))  # type: ignore[arg-type]
    t = np.arange(frames)
    expected = 0.03 * np.stack((np.minimum(t, 2), np.minimum(frames - 1 - t, 2), 0 * t), -1)
    assert np.abs(joints - STANDING - expected[:, None]).max() < 0.01
