"""What a server is made to expect in training: mostly about the truth, and wrong as servers are."""

from __future__ import annotations

import numpy as np

from synpose.skeleton import BODY27
from synpose_model.crop import NOWHERE
from synpose_model.data.expectation import expectation

CROPS = 4000
PIXELS = np.broadcast_to(np.random.default_rng(1).uniform(0.1, 0.9, (27, 2)), (CROPS, 27, 2)).astype(np.float32)
SEEN = np.full((CROPS, 27), 2, np.uint8)
WRIST, KNEE = BODY27.joints.index("left_wrist"), BODY27.joints.index("left_knee")


def test_most_joints_are_expected_near_and_hidden_ones_less_so() -> None:
    """Half of them within two hundredths of the crop; some crops know nothing, in the others few joints miss."""
    hidden = SEEN.copy()
    hidden[:, ::2] = 1
    at = expectation(np.random.default_rng(0), PIXELS, hidden)
    assert at.shape == PIXELS.shape
    unknown = (at == NOWHERE).all(-1)
    assert (at[~unknown] > -4).all()
    assert 0.12 < unknown.all(-1).mean() < 0.18
    assert 0.02 < unknown[~unknown.all(-1)].mean() < 0.04
    off = np.where(unknown, np.nan, np.linalg.norm(at - PIXELS, axis=-1))
    near, far = (np.nanmedian(off[:, part]) for part in (slice(1, None, 2), slice(None, None, 2)))
    assert 0.01 < near < 0.025 < far < 0.05


def test_limbs_are_taken_for_each_other_as_pairs() -> None:
    """A wrist that is expected where the other is has its elbow with it, and the legs stay mostly where they are."""
    at = expectation(np.random.default_rng(0), PIXELS, SEEN)
    mirrored = {
        joint: np.linalg.norm(at[:, joint] - PIXELS[:, BODY27.mirror[joint]], axis=-1) < 0.02
        for joint in (WRIST, WRIST - 2, KNEE)
    }
    swapped = mirrored[WRIST]
    assert 0.01 < swapped.mean() < 0.08
    assert mirrored[WRIST - 2][swapped].mean() > 0.5 > 0.5 * swapped.mean() + mirrored[KNEE][swapped].mean()


def test_expectations_are_a_function_of_the_generator() -> None:
    one, two, other = (expectation(np.random.default_rng(seed), PIXELS[:8], SEEN[:8]) for seed in (3, 3, 4))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
