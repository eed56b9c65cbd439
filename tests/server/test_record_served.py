"""Recording what a server reads: painted clips, whose crops say where they were cut out."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.server.painted import SIZE, STANDING, PaintedModel, circle_rig, painted

from synpose_model.crop import NOWHERE
from synpose_server import record_served as recording
from synpose_server.record_served import Served, record_served
from synpose_server.rendered_clip import RenderedClip

FRAMES, SIDES = 7, {"thunder": 256, "lightning": 192}


@pytest.fixture
def clip(monkeypatch: pytest.MonkeyPatch) -> RenderedClip:
    """Someone who stands before three cameras."""
    monkeypatch.setattr(recording, "_SUBSETS", ())
    rig = circle_rig(3)
    images = [bytes(cv2.imencode(".png", painted(v).planes[0][..., ::-1])[1].tobytes()) for v in range(3)]
    videos = {name: [image] * FRAMES for name, image in zip(rig.names, images, strict=True)}
    joints = np.broadcast_to(STANDING, (FRAMES, 17, 3)).copy()
    visibility = np.full((3, FRAMES, 17), 2, np.uint8)
    return RenderedClip("walk", rig, videos, joints, visibility, 25.0, "stand", child=False)  # type: ignore[arg-type]


def record(clip: RenderedClip, *people: NDArray[np.float64]) -> list[Served]:
    model, rng = PaintedModel(clip.rig, people), np.random.default_rng(0)
    return list(record_served(model, clip, SIDES, every=2, rng=rng))  # type: ignore[arg-type]


def test_crops_and_expectations_are_those_of_the_server(clip: RenderedClip) -> None:
    """True joints lie in the crops where the pixels say, at every size; from the third pose on they are expected."""
    (served,) = record(clip, STANDING)
    assert (served.name, served.rig.names, served.count) == ("walk_cam1_cam2_cam3", clip.rig.names, 4 * 3)
    pixels, visibility, expected, transforms = (
        np.stack(served.labels[name]).reshape(4, 3, *shape)
        for name, shape in (("pixels", (17, 2)), ("visibility", (17,)), ("expected", (17, 2)), ("transforms", (2, 3)))
    )
    assert (visibility == 2).all()
    assert (expected[0] == NOWHERE).all()
    assert np.abs(expected[1:] - pixels[1:]).max() < 0.01
    assert np.isnan(served.ahead[0]).all()
    assert np.abs(served.ahead[1:] - STANDING).max() < 0.02
    for variant, side in SIDES.items():
        crops = np.stack(served.crops[variant]).reshape(4, 3, side, side, 3)
        for view, camera in enumerate(clip.rig):
            column, row = (pixels[2, view] * side - 0.5).round().astype(int).T
            colours = crops[2, view, row, column, :2].astype(float)
            assert np.abs((colours - 1) / 250 * SIZE - camera.project(STANDING)).max() < 5  # a pixel is 2.6 of colour
            placed = pixels[2, view] @ transforms[2, view][:, :2].T + transforms[2, view][:, 2]
            assert np.abs(placed - camera.project(STANDING)).max() < 1e-3


def test_what_is_seen_is_kept_of_the_longest_time_without_a_break(clip: RenderedClip) -> None:
    """Every frame set of it: unit rays of all views from their cameras to the joints, beside where these truly are."""
    clip.joints[1] = np.nan
    (served,) = record(clip, STANDING)
    (seen,) = served.sightings
    assert seen.directions.shape == (5, 3, 17, 3)
    assert seen.scores.min() > 0.5
    assert seen.tokens.shape == (5, 3, 0)
    np.testing.assert_allclose(seen.joints, clip.joints[2:])
    towards = STANDING - seen.origins[:, None]
    towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
    assert np.abs(seen.directions - towards).max() < 0.01


def test_crops_of_somebody_else_show_nothing(clip: RenderedClip) -> None:
    """Who floats above the one whom the clip is of is not taught from, and of nobody nothing is recorded."""
    (served,) = record(clip, 0.5 * STANDING + (0, 0, 1.9))
    assert served.count == 0
    assert np.isnan(np.stack(served.labels["pixels"])).all()
    assert record(clip) == []


def test_of_several_people_the_first_is_recorded(clip: RenderedClip) -> None:
    """Whoever was found first; where the other is close in an image they are painted over, as the server does it."""
    beside = STANDING + (0.7, 0.3, 0)
    crowd = replace(clip, others=(np.broadcast_to(beside, (FRAMES, 17, 3)),))
    (alone,) = record(clip, STANDING)
    for people in ((STANDING, beside), (beside, STANDING)):
        (served,) = record(crowd, *people)
        assert served.count == 4 * 3
        assert np.abs(served.ahead[1:] - STANDING).max() < 0.02
        for seen, joints in zip(served.sightings, (STANDING, beside), strict=True):
            towards = joints - seen.origins[:, None]
            towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
            assert np.median(np.linalg.norm(seen.directions - towards, axis=-1)) < 0.01
            assert np.abs(seen.joints - joints).max() < 1e-6
        for side, ours, theirs in zip(
            (256, 192), map(served.crops.get, SIDES), map(alone.crops.get, SIDES), strict=True
        ):
            assert ours is not None
            assert theirs is not None
            painted_over = np.stack([np.any(a != b, axis=-1) for a, b in zip(ours, theirs, strict=True)])
            assert painted_over.shape == (4 * 3, side, side)
            assert 0.001 < painted_over.mean() < 0.5


def test_nobody_is_recorded_in_the_place_of_the_first(clip: RenderedClip) -> None:
    """Where only the other one is followed there is nothing of the first."""
    beside = STANDING + (0.7, 0.3, 0)
    crowd = replace(clip, others=(np.broadcast_to(beside, (FRAMES, 17, 3)),))
    assert record(crowd, beside) == []


def test_clips_are_read_with_few_of_their_cameras() -> None:
    """One, two, three and four of five cameras, in the rig's order; small rigs as a whole as well, nothing twice."""
    rng, names = np.random.default_rng(0), tuple("abcde")
    some = recording._subsets(rng, names, recording._SUBSETS)
    assert sorted(map(len, some)) in ([1, 2, 2, 3, 4], [1, 2, 3, 4])
    assert all(list(cameras) == sorted(cameras) for cameras in some)
    assert len(set(some)) == len(some)
    small = recording._subsets(rng, ("a", "b"), recording._SUBSETS)
    assert ("a", "b") in small
    assert {len(cameras) for cameras in small} == {1, 2}
