"""What a server is made to expect in training: mostly about the truth, and wrong as servers are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from synpose.errors import InvalidInput
from synpose.skeleton import BODY27
from synpose_model.crop import NOWHERE
from synpose_model.data.expectation import ServerErrors, expectation

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


# -- errors that a server made -----------------------------------------------------------------------------------------


def poses(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """People whose limbs hang here and there, metres."""
    joints = rng.normal(0, 0.3, (count, 27, 3))
    for side, y in (("left", 0.15), ("right", -0.15)):
        joints[:, BODY27.joints.index(f"{side}_hip")] = (0, y, 1.0)
        joints[:, BODY27.joints.index(f"{side}_shoulder")] = (0, y, 1.5)
    return joints


def test_errors_of_a_server_turn_with_the_person() -> None:
    """A pose that was recorded gets its own error, whichever way the person is turned and wherever they stand."""
    rng = np.random.default_rng(0)
    joints = np.concatenate([poses(rng, 1).repeat(20, 0), poses(rng, 20) + rng.normal(0, 2, (20, 27, 3))])
    forth = np.zeros((40, 27, 3))
    forth[:20, WRIST] = (0.2, 0, 0)  # along x, which all of them face
    errors = ServerErrors(joints, forth)
    turn = np.array(((0, -1.0, 0), (1, 0, 0), (0, 0, 1)))
    turned = joints[:1] @ turn.T + (3, 4, 0)
    off = errors.expected(rng, turned) - turned
    assert off[0, WRIST, 1] > 0.05
    off[0, WRIST, 1] = 0
    assert np.abs(off).max() < 1e-9


def test_errors_of_a_server_hold_for_the_mirrored_person() -> None:
    """Of the same pose in the mirror the other wrist is wrong, and to the same side of the body."""
    rng = np.random.default_rng(0)
    joints, out = poses(rng, 1).repeat(20, 0), np.zeros((20, 27, 3))
    out[:, WRIST] = (0, 0.2, 0)
    errors = ServerErrors(joints, out)
    mirrored = joints[:1, list(BODY27.mirror)] * (1, -1, 1)
    off = errors.expected(rng, mirrored) - mirrored
    assert off[0, BODY27.mirror[WRIST], 1] < -0.05
    assert np.abs(off[0, WRIST]).max() < 1e-9


def test_few_records_are_refused() -> None:
    """Records with unknown joints do not count."""
    joints = poses(np.random.default_rng(0), 40)
    errors = np.zeros_like(joints)
    errors[10:, 3] = np.nan
    with pytest.raises(InvalidInput, match="10 recorded expectations"):
        ServerErrors(joints, errors)
