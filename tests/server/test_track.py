"""Following people: found, kept, lost and found again, each image read once."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.server.painted import STANDING, PaintedModel, circle_rig, painted

from synpose.errors import CalibrationError
from synpose_server.image import Image
from synpose_server.track import Tracker

BLACK = Image((np.zeros((480, 640, 3), np.uint8),))


def test_a_walking_person_is_followed_exactly() -> None:
    """The joints are the truth, from the first frame set on, under one id, by all views."""
    model = PaintedModel(circle_rig(4))
    tracker = Tracker(model, model.rig, 1)  # type: ignore[arg-type]
    images = [painted(v) for v in range(4)]
    for t in range(30):
        model.people = [STANDING + (0.02 * t - 0.3, 0.01 * t, 0)]
        (person,) = tracker.step(images)
        assert person.id == 0
        assert person.seen.all()
        assert np.abs(person.joints - model.people[0]).max() < 0.01, t


def test_each_image_is_read_once_and_searched_once() -> None:
    """A followed person costs one crop an image; the detector runs on the first frame set only."""
    model = PaintedModel(circle_rig(3), [STANDING])
    tracker = Tracker(model, model.rig, 1)  # type: ignore[arg-type]
    for _ in range(8):
        tracker.step([painted(v) for v in range(3)])
    assert model.searches == 3
    assert model.crops == [(0, 1, 2)] * 8


@pytest.mark.parametrize("gone", [None, BLACK])
@pytest.mark.parametrize("lost", range(4))
def test_a_lost_camera_does_not_matter(lost: int, gone: Image | None) -> None:
    """A camera that is missing or dark for a while is left out and comes back; the others go on."""
    model = PaintedModel(circle_rig(4))
    tracker = Tracker(model, model.rig, 1)  # type: ignore[arg-type]
    for t in range(40):
        model.people = [STANDING + (0.01 * t, 0, 0)]
        dark = 10 <= t < 30
        images = [gone if dark and v == lost else painted(v) for v in range(4)]
        (person,) = tracker.step(images)
        assert person.id == 0
        assert person.seen.tolist() == [not (dark and v == lost) for v in range(4)]
        assert np.abs(person.joints - model.people[0]).max() < 0.01


def test_nobody_is_nobody() -> None:
    """Empty images give an empty answer, and a person who comes later is found."""
    model = PaintedModel(circle_rig(4))
    tracker = Tracker(model, model.rig, 1)  # type: ignore[arg-type]
    images = [painted(v) for v in range(4)]
    assert [tracker.step(images) for _ in range(5)] == [[]] * 5
    model.people = [STANDING]
    assert len(tracker.step(images)) == 1


def test_a_person_who_leaves_is_not_reported_and_returns_as_someone_new() -> None:
    """No old values: as soon as nobody is seen, nobody is answered."""
    model = PaintedModel(circle_rig(4), [STANDING])
    tracker = Tracker(model, model.rig, 1)  # type: ignore[arg-type]
    images = [painted(v) for v in range(4)]
    assert len(tracker.step(images)) == 1
    model.people = []
    assert tracker.step(images) == []
    model.people = [STANDING + (1, 0, 0)]
    (person,) = tracker.step(images)
    assert person.id == 1
    assert np.abs(person.joints - model.people[0]).max() < 0.01


def test_a_person_who_is_out_of_sight_for_a_moment_stays_the_same() -> None:
    """Blind frame sets are gaps in one person's track, not the end of it."""
    model = PaintedModel(circle_rig(4))
    tracker = Tracker(model, model.rig, 1)  # type: ignore[arg-type]
    ids = []
    for t in range(20):
        model.people = [STANDING + (0.02 * t, 0, 0)]
        blind = t in (5, 11, 12, 13)
        people = tracker.step([BLACK if blind and v > 0 else painted(v) for v in range(4)])
        ids.append([person.id for person in people])
    assert ids == [[] if t in (5, 11, 12, 13) else [0] for t in range(20)]


def test_a_bystander_in_two_views_is_never_mixed_in() -> None:
    """Of two people the one whom more cameras see is followed, though the other stands nearer to some."""
    rig = circle_rig(4)
    bystander = STANDING + (1.9, 1.2, 0)

    class TwoViews(PaintedModel):
        def detect(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            people, boxes = super().detect(image)
            view = int(image[8, 8, 2]) // 20 - 1
            return (people, boxes) if view < 2 else (people[:1], boxes[:1])

    model = TwoViews(rig, [STANDING, bystander])
    tracker = Tracker(model, rig, 1)  # type: ignore[arg-type]
    for _ in range(5):
        (person,) = tracker.step([painted(v) for v in range(4)])
        assert np.abs(person.joints - STANDING).max() < 0.01


def test_two_people_are_two() -> None:
    """`max_people` is no special case: both are followed, each under its own id."""
    model = PaintedModel(circle_rig(5))
    tracker = Tracker(model, model.rig, 2)  # type: ignore[arg-type]
    images = [painted(v) for v in range(5)]
    for t in range(10):
        model.people = [STANDING + (-0.6, 0.02 * t, 0), STANDING * (1, 1, 0.7) + (0.7, -0.02 * t, 0)]
        people = tracker.step(images)
        assert sorted(person.id for person in people) == [0, 1]
        for truth in model.people:
            assert min(np.abs(person.joints - truth).max() for person in people) < 0.01


@pytest.mark.parametrize("scale", [1000.0, 0.01])
def test_a_wrong_unit_is_told(scale: float) -> None:
    """A calibration in millimetres taken for metres makes giants: the error says so and what to do."""
    truth = circle_rig(4)
    model = PaintedModel(truth, [STANDING])
    tracker = Tracker(model, circle_rig(4, scale=scale), 1)  # type: ignore[arg-type]
    images = [painted(v) for v in range(4)]
    with pytest.raises(CalibrationError, match="m tall") as caught:
        all(tracker.step(images) == [] for _ in range(20))
    assert caught.value.field == "options.units"


def test_a_wrong_unit_is_told_of_a_short_clip_too() -> None:
    """One frame set is not enough to be sure at once, but at the end of the clip it is all there is."""
    truth = circle_rig(4)
    model = PaintedModel(truth, [STANDING])
    tracker = Tracker(model, circle_rig(4, scale=1000.0), 1)  # type: ignore[arg-type]
    assert tracker.step([painted(v) for v in range(4)]) == []
    with pytest.raises(CalibrationError, match="m tall"):
        tracker.check_scale()


def test_a_view_of_someone_else_is_outvoted() -> None:
    """A view whose keypoints are all metres away loses its say, and is not named among the views."""

    def astray(view: int, keypoints: NDArray[np.float64]) -> NDArray[np.float64]:
        return keypoints + (45, 0, 0) if view == 2 else keypoints

    model = PaintedModel(circle_rig(5), [STANDING], alter=astray)
    tracker = Tracker(model, model.rig, 1)  # type: ignore[arg-type]
    for _ in range(4):
        (person,) = tracker.step([painted(v) for v in range(5)])
    assert person.seen.tolist() == [True, True, False, True, True]
    assert np.abs(person.joints - STANDING).max() < 0.02
