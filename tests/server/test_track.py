"""Following people: found, kept, lost and found again, each image read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.server.painted import SIZE, STANDING, PaintedModel, bundle, circle_rig, one_colour, only, painted

from synpose.errors import CalibrationError
from synpose.skeleton import BODY27, COCO17, Skeleton
from synpose_model.image import Image
from synpose_server import track
from synpose_server.runtime import Detected, Readings
from synpose_server.track import TrackedPerson, Tracker, _completing, _in_sight

Array = NDArray[np.float64]

WRIST = COCO17.joints.index("left_wrist")
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
        def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detected]:
            views = [int(image[8, 8, 2]) // 20 - 1 for image in images]
            found = zip(views, super().detect(images), strict=True)
            return [given if view < 2 else Detected(given.people[:1], given.boxes[:1]) for view, given in found]

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


@dataclass
class FrontFirst(PaintedModel):
    """A network that reads whoever is in front, where a crop shows two people one behind the other."""

    asked: list[int] = field(default_factory=list)  # how many windows each batch had

    def read(self, crops: NDArray[np.uint8], expected: NDArray[np.float64] | None = None) -> Readings:
        people, answers = self.people, []
        for crop in crops:
            view = int(np.median(crop[..., 2][crop[..., 2] > 0])) // 20 - 1
            camera = self.rig.cameras[view]
            by_depth = sorted(people, key=lambda p: float(camera.to_camera(p)[:, 2].mean()))
            read = []
            for person in by_depth:
                self.people = [person]
                read.append(super().read(crop[None]).keypoints[0])
            middles = [np.abs(keypoints[:, :2].mean(0) - crop.shape[0] / 2).max() for keypoints in read]
            near = [k for k, middle in zip(read, middles, strict=True) if middle < min(middles) + 0.12 * crop.shape[0]]
            answers.append(near[0])
        self.people = people
        return only(np.stack(answers))

    def relate(
        self,
        origins: Array,
        directions: Array,
        scores: Array,
        view_mask: NDArray[np.bool_],
        tokens: Array | None = None,
    ) -> tuple[Array, Array, Array]:
        self.asked.append(len(origins))
        return super().relate(origins, directions, scores, view_mask, tokens)


def owners(people: Sequence[TrackedPerson], truth: Sequence[Array]) -> dict[int, int]:
    """By who is nearest, which id is whose: person of `truth` by id. Everybody must be within 5 cm of someone."""
    off = [[float(np.abs(person.joints - one).mean()) for one in truth] for person in people]
    assert all(min(row) < 0.05 for row in off), off
    return {person.id: int(np.argmin(row)) for person, row in zip(people, off, strict=True)}


@pytest.mark.parametrize("gap", [0.45, 0.7])
def test_people_who_walk_past_each_other_keep_their_ids(gap: float) -> None:
    """Views that show the one in front twice count for that one alone; both are followed exactly all the time."""
    model = FrontFirst(circle_rig(6))
    tracker = Tracker(model, model.rig, 2)  # type: ignore[arg-type]
    images = [painted(v) for v in range(6)]
    ids = []
    for t in range(50):
        x = 0.04 * t - 1
        model.people = [STANDING + (x, gap / 2, 0), STANDING * (1, 1, 0.9) + (-x, -gap / 2, 0)]
        ids.append(owners(tracker.step(images), model.people))
    assert all(found == ids[0] for found in ids)
    assert sorted(ids[0].values()) == [0, 1]


def test_a_quick_hand_in_front_of_someone_is_not_painted_over() -> None:
    """Whoever stands behind is painted over where they are expected, and a hand that waves before them is not."""
    model = KeepsCrops(circle_rig(4))
    tracker = Tracker(model, model.rig, 2)  # type: ignore[arg-type]
    camera = model.rig.cameras[0]
    for t in range(40):
        waving = STANDING.copy()
        waving[WRIST, 1] += 0.2 + 0.25 * np.sin(2 * np.pi * t / 16)
        behind = STANDING + (-0.5, 0.45, 0)
        model.people = [waving, behind]
        whose = owners(tracker.step([painted(v) for v in range(4)]), model.people)
        if t < 8:
            continue  # until it is known how the hand moves
        (row,) = (row for row, person in enumerate(whose.values()) if person == 0)
        crop = model.last[4 * row]
        assert shown(crop, camera.project(waving[WRIST])), t
        assert not shown(crop, camera.project(behind[COCO17.joints.index("left_knee")])), t


def test_a_keypoint_that_is_someone_elses_counts_little() -> None:
    """A wrist read at the other person's wrist keeps a fifth of its score, and the pose stays as the others say it."""
    model = GrabsWrist(circle_rig(5), [STANDING + (0, -0.5, 0), STANDING * (1, 1, 0.9) + (0, 0.5, 0)])
    tracker = Tracker(model, model.rig, 2)  # type: ignore[arg-type]
    images = [painted(v) for v in range(5)]
    whose = owners(tracker.step(images), model.people)
    model.owner, model.other = (model.people[whose[id]] for id in (0, 1))
    person = next(person for person in tracker.step(images) if person.id == 0)
    scores = person.keypoints[..., 2] / person.as_read[..., 2]
    assert scores[0, WRIST] == pytest.approx(0.2)
    assert (scores < 1).sum() == 1


@dataclass
class GrabsWrist(PaintedModel):
    """In the first crop, that of `owner`, it reads the left wrist of `other`; all else as it is."""

    owner: Array | None = None
    other: Array = field(default_factory=lambda: STANDING)

    def read(self, crops: NDArray[np.uint8], expected: NDArray[np.float64] | None = None) -> Readings:
        answers = (read := super().read(crops)).keypoints
        if self.owner is not None:
            camera = self.rig.cameras[0]
            seen = np.column_stack((camera.project(self.owner), np.ones(17)))
            to_crop, *_ = np.linalg.lstsq(seen, answers[0, :, :2], rcond=None)
            answers[0, WRIST, :2] = (*camera.project(self.other)[WRIST], 1) @ to_crop
        return read


@dataclass
class SeesTwice(PaintedModel):
    """From its third call on it takes in the first crop the left wrist for the right one; it says where else it is."""

    def read(self, crops: NDArray[np.uint8], expected: NDArray[np.float64] | None = None) -> Readings:
        read = super().read(crops)
        if len(self.crops) > 2:
            read.alternatives[0, WRIST] = read.keypoints[0, WRIST] * (1, 1, 0.8)
            read.keypoints[0, WRIST] = read.keypoints[0, WRIST + 1]
        return read


@pytest.mark.parametrize("cameras", [2, 3])
def test_of_two_places_the_expected_one_is_taken(cameras: int) -> None:
    """A wrist that the network sees in a wrong place and, less surely, in the right one; what it said is still told."""
    model = SeesTwice(circle_rig(cameras), [STANDING])
    tracker = Tracker(model, model.rig, 1)  # type: ignore[arg-type]
    for k in range(6):
        (person,) = tracker.step([painted(v) for v in range(cameras)])
        assert person.joints[WRIST] == pytest.approx(STANDING[WRIST], abs=0.01)
        wrong = np.linalg.norm((person.as_read - person.keypoints)[0, WRIST, :2]) > 10
        assert wrong == (k > 1)


@dataclass
class Expects(PaintedModel):
    """A network that is told what to expect."""

    expects: bool = True
    told: list[Array | None] = field(default_factory=list)
    said: list[Array] = field(default_factory=list)

    def read(self, crops: NDArray[np.uint8], expected: NDArray[np.float64] | None = None) -> Readings:
        read = super().read(crops)
        self.told.append(expected)
        self.said.append(read.keypoints[..., :2])
        return read


def test_a_network_is_told_where_joints_are_expected() -> None:
    """After two poses, where they go on to; of nothing before, nor of joints near others who are painted over."""
    model = Expects(circle_rig(3))
    tracker = Tracker(model, model.rig, 1)  # type: ignore[arg-type]
    for t in range(6):
        model.people = [STANDING + (0.02 * t, 0.01 * t, 0)]
        tracker.step([painted(v) for v in range(3)])
    for t, (told, said) in enumerate(zip(model.told, model.said, strict=True)):
        assert told is not None
        assert told.shape == (3, 17, 2)
        if t < 2:
            assert np.isnan(told).all()
        else:
            assert np.abs(told - said).max() < 1
    model.told.clear()
    untold = Tracker(model, model.rig, 1, told=False)  # type: ignore[arg-type]
    for _ in range(4):
        untold.step([painted(v) for v in range(3)])
    assert model.told == [None] * 4
    model.people = [STANDING, STANDING + (0.6, 0, 0)]
    tracker = Tracker(model, model.rig, 2)  # type: ignore[arg-type]
    for _ in range(4):
        tracker.step([painted(v) for v in range(3)])
    told = model.told[-1]
    assert told is not None
    withheld = np.isnan(told).all(-1).sum(1)
    assert withheld.tolist() == [0, 0, 8, 17, 0, 5]
    gone, points = np.isnan(told[2]).all(-1), model.said[-1][2]
    assert np.ptp(points[gone, 0]) < np.ptp(points[:, 0])  # those on one side


@pytest.mark.parametrize(("cameras", "window", "silent"), [(4, 20, 8), (4, 5, 4), (4, 1, 2), (3, 20, 2)])
def test_many_cameras_find_the_first_poses_by_themselves(cameras: int, window: int, silent: int) -> None:
    """With four cameras nothing is told for eight poses, or as many as the window holds; fewer need the help."""
    model = Expects(circle_rig(cameras), [STANDING], bundle=bundle(window=window))
    tracker = Tracker(model, model.rig, 1)  # type: ignore[arg-type]
    for _ in range(10):
        tracker.step([painted(v) for v in range(cameras)])
    assert [bool(np.isfinite(told).all()) for told in model.told if told is not None] == [
        t >= silent for t in range(10)
    ]


@dataclass
class SeesEverywhere(PaintedModel):
    """A network that sees in crops of one colour the person whom it saw last."""

    last: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 1, 1, 3), np.uint8))

    def read(self, crops: NDArray[np.uint8], expected: NDArray[np.float64] | None = None) -> Readings:
        blank = crops.std((1, 2, 3)) < 5
        if not blank.any():
            self.last = crops
        return super().read(np.where(blank[:, None, None, None], self.last[: len(crops)], crops))

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detected]:
        return super().detect([image if image.std() > 5 else np.zeros_like(image) for image in images])


@pytest.mark.parametrize("grey", [0, 128])
def test_nobody_is_seen_in_images_of_one_colour(grey: int) -> None:
    """A failing camera has no say, whatever a network sees in what it sends, and all of them show nobody.

    Whoever is seen afterwards is who was seen before.
    """
    noise = np.random.default_rng(0).integers(0, 3, (480, 640, 3))
    blank = Image(((grey + noise).astype(np.uint8),))
    model = SeesEverywhere(circle_rig(4), [STANDING])
    tracker = Tracker(model, model.rig, 1)  # type: ignore[arg-type]
    whole = [painted(v) for v in range(4)]
    (before,) = tracker.step(whole)
    (person,) = tracker.step([*whole[:3], blank])
    assert person.seen.tolist() == [True, True, True, False]
    assert [tracker.step([blank] * 4) for _ in range(3)] == [[]] * 3
    (after,) = tracker.step(whole)
    assert after.id == before.id


@dataclass
class KeepsCrops(PaintedModel):
    """A network whose last crops can be looked at."""

    last: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 1, 1, 3), np.uint8))

    def read(self, crops: NDArray[np.uint8], expected: NDArray[np.float64] | None = None) -> Readings:
        self.last = crops
        return super().read(crops)


def shown(crop: NDArray[np.uint8], point: Array) -> bool:
    """Whether the pixels of an image around `point` are still in `crop`: they are of the colour of their place."""
    at = 1 + 250 * point / SIZE
    return bool(((np.abs(crop[..., :2] - at).max(-1) < 1.5) & ~one_colour(crop)).any())


def test_all_people_are_lifted_in_one_batch() -> None:
    """Three people who stand apart cost one run of the relation graph a frame set."""
    model = FrontFirst(circle_rig(5), [STANDING + (x, y, 0) for x, y in ((-1, 0), (0.8, 0.8), (0.7, -0.9))])
    tracker = Tracker(model, model.rig, 3)  # type: ignore[arg-type]
    for _ in range(4):
        assert len(tracker.step([painted(v) for v in range(5)])) == 3
    assert model.asked == [3] * 4


def test_who_vanishes_beside_someone_does_not_become_them() -> None:
    """When one of two leaves, no track of theirs lives on in the other, and whoever stays keeps the id."""
    model = PaintedModel(circle_rig(5))
    tracker = Tracker(model, model.rig, 2)  # type: ignore[arg-type]
    images = [painted(v) for v in range(5)]
    stays, leaves = STANDING, STANDING + (0, 0.5, 0)
    model.people = [stays, leaves]
    whose = owners(tracker.step(images), model.people)
    kept = next(id for id, person in whose.items() if person == 0)
    model.people = [stays]
    answers = [[person.id for person in tracker.step(images)] for _ in range(12)]
    assert answers[-1] == [kept]
    assert all(kept in found for found in answers)
    model.people = [stays, leaves]
    back = [owners(tracker.step(images), model.people) for _ in range(12)]
    assert back[-1] == whose


def test_two_tracks_of_one_person_become_one() -> None:
    """Whoever was followed there first goes on."""
    model = PaintedModel(circle_rig(5), [STANDING])
    tracker = Tracker(model, model.rig, 3)  # type: ignore[arg-type]
    images = [painted(v) for v in range(5)]
    (first,) = tracker.step(images)
    tracker._tracks.append(tracker._new(tracker._tracks[0].joints + (0.05, 0, 0)))
    answers = [tracker.step(images) for _ in range(15)]
    assert [person.id for person in answers[-1]] == [first.id]
    assert np.abs(answers[-1][0].joints - STANDING).max() < 0.01


def test_people_who_come_back_are_told_by_their_size() -> None:
    """In the dark an adult and a child change places: each comes back under the own id."""
    model = PaintedModel(circle_rig(5))
    tracker = Tracker(model, model.rig, 2)  # type: ignore[arg-type]
    places = np.array(((-0.5, 0, 0), (0.5, 0, 0)))
    images = [painted(v) for v in range(5)]
    model.people = [STANDING + places[0], STANDING * 0.65 + places[1]]
    for _ in range(3):
        before = owners(tracker.step(images), model.people)
    for _ in range(20):
        assert tracker.step([BLACK] * 5) == []
    model.people = [STANDING + places[1], STANDING * 0.65 + places[0]]
    assert owners(tracker.step(images), model.people) == before


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


def test_a_wrong_unit_costs_a_long_stream_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the people of impossible size that few searches find, the last heights are kept and all are counted."""
    monkeypatch.setattr(track, "_HEIGHTS_KEPT", 5)
    model = PaintedModel(circle_rig(4), [STANDING])
    tracker = Tracker(model, circle_rig(4, scale=1000.0), 1)  # type: ignore[arg-type]
    images = [painted(v) for v in range(4)]
    for _ in range(20):
        for shown in ([BLACK] * 4, [BLACK] * 4, images):
            assert tracker.step(shown) == []
    assert len(tracker._heights) == 5
    with pytest.raises(CalibrationError, match="m tall"):
        [tracker.step(images) for _ in range(30)]


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


def test_what_the_network_said_is_kept() -> None:
    """A view that exchanges left and right is put right in the keypoints, and stays as it was read in `as_read`."""
    model = PaintedModel(circle_rig(4), [STANDING])
    tracker = Tracker(model, model.rig, 1)  # type: ignore[arg-type]
    images = [painted(v) for v in range(4)]
    (before,) = tracker.step(images)
    assert np.array_equal(before.as_read, before.keypoints)
    mirror = np.arange(17)
    for left, right in model.skeleton.pairs:
        mirror[[left, right]] = right, left
    model.alter = lambda view, keypoints: keypoints[mirror] if view == 2 else keypoints
    (after,) = tracker.step(images)
    assert np.abs(after.keypoints - before.keypoints).max() < 5
    assert np.abs(after.as_read[2] - before.keypoints[2, mirror]).max() < 5
    assert np.array_equal(after.as_read[[0, 1, 3]], after.keypoints[[0, 1, 3]])


# -- networks over time --------------------------------------------------------------------------------------------


@dataclass
class Averaging(PaintedModel):
    """A relation graph with a window: each instant's joints are the mean over it and what follows, in `body27`.

    Sigma is the number of instants in that mean. Tokens are the view's number, and must come back with their views.
    """

    skeleton: Skeleton = BODY27
    bundle: SimpleNamespace = field(default_factory=lambda: bundle(window=4, look_ahead=2))
    windows: list[int] = field(default_factory=list)

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
        coco, _, weights = super().relate(origins, directions, scores, view_mask)
        joints = BODY27.reads_from(COCO17) @ coco  # (1, T, 27, 3)
        T = joints.shape[1]
        self.windows.append(T)
        ahead = np.arange(T, 0, -1)  # instants from each to the last
        means = joints[:, ::-1].cumsum(1)[:, ::-1] / ahead[:, None, None]
        return means, np.broadcast_to(ahead[:, None], (1, T, 27)).astype(float), np.zeros((*weights.shape[:3], 27))


HEAD, HEEL, PELVIS = (BODY27.joints.index(name) for name in ("head", "left_heel", "pelvis"))


def walk(model: PaintedModel, frames: int, blind: Sequence[int] = ()) -> list[list[TrackedPerson]]:
    """The people of each frame set of someone who walks 2 cm a frame set, as they are when the clip is over."""
    tracker = Tracker(model, model.rig, 1)  # type: ignore[arg-type]
    answers = []
    for t in range(frames):
        model.people = [STANDING + (0.02 * t, 0, 0)]
        answers.append(tracker.step([BLACK if t in blind else painted(v) for v in range(len(model.rig))]))
    return answers


def test_what_follows_refines_what_was_seen() -> None:
    """Frame t is answered from frames to t + 2, the last ones from those there are, by one run a frame set."""
    model = Averaging(circle_rig(4))
    answers = walk(model, 8)
    assert model.windows == [1, 2, 3, 4, 4, 4, 4, 4]
    assert model.crops == [(0, 1, 2, 3)] * 8
    for t, (person,) in enumerate(answers):
        later = min(2, 7 - t)
        assert (person.sigma == 1 + later).all(), t
        assert np.abs(person.joints[:17] - STANDING - (0.02 * (t + later / 2), 0, 0)).max() < 0.01, t


def test_the_newest_pose_steers() -> None:
    """The crops follow where the person is now, whatever look-ahead makes of the frames before."""
    model = Averaging(circle_rig(4))
    tracker = Tracker(model, model.rig, 1)  # type: ignore[arg-type]
    for t in range(10):
        model.people = [STANDING + (0.02 * t, 0, 0)]
        (person,) = tracker.step([painted(v) for v in range(4)])
        assert np.abs(person.joints[:17] - model.people[0]).max() < 0.01


def test_who_vanishes_keeps_the_last_answer() -> None:
    """A gap ends the window: the frames before it are as refined as they could be, those after it start anew."""
    model = Averaging(circle_rig(4))
    answers = walk(model, 8, blind=[4])
    assert [len(people) for people in answers] == [1, 1, 1, 1, 0, 1, 1, 1]
    assert [people[0].sigma[0] for people in answers if people] == [3, 3, 2, 1, 3, 2, 1]
    assert model.windows == [1, 2, 3, 4, 1, 2, 3]
    assert {people[0].id for people in answers if people} == {0}


def test_joints_that_the_detector_does_not_find_start_near_those_it_does() -> None:
    """Midpoints where there are some, else the parent: of the head the neck, of the feet the ankles."""
    joints = _completing(BODY27) @ STANDING
    assert np.array_equal(joints[:17], STANDING)
    assert joints[PELVIS] == pytest.approx(STANDING[11:13].mean(0))
    assert joints[HEAD] == pytest.approx(STANDING[5:7].mean(0))
    assert joints[HEEL] == pytest.approx(STANDING[15])
    assert np.array_equal(_completing(COCO17), np.eye(17))


def test_more_joints_than_keypoints_keep_the_crops() -> None:
    """Crops surround COCO's joints, however many more are answered."""

    def seen(model: PaintedModel) -> Array:
        return np.stack([people[0].keypoints for people in walk(model, 4)])

    assert np.array_equal(seen(Averaging(circle_rig(4))), seen(PaintedModel(circle_rig(4))))


# -- one camera ----------------------------------------------------------------------------------------------------


@dataclass
class Monocular(PaintedModel):
    """A relation graph that answers one view, too: everyone stands as far from its camera as the world's origin."""

    bundle: SimpleNamespace = field(default_factory=lambda: bundle(min_views=1))

    def relate(
        self,
        origins: Array,
        directions: Array,
        scores: Array,
        view_mask: NDArray[np.bool_],
        tokens: Array | None = None,
    ) -> tuple[Array, Array, Array]:
        joints, sigma, weights = super().relate(origins, directions, scores, view_mask)
        if view_mask.sum() == 1:
            (view,) = np.flatnonzero(view_mask)
            origin, rays = origins[0, 0, view], directions[0, 0, view]
            joints = (origin + np.linalg.norm(origin) * rays)[None, None]
            sigma = np.full((1, 1, 17), 0.1)
        return joints, sigma, weights


@pytest.mark.parametrize("height", [1.0, 0.8])
def test_one_camera_is_enough_where_the_model_says_so(height: float) -> None:
    """Found and followed by a rig of one camera, though a small person starts farther away than the network says."""
    model = Monocular(circle_rig(1), [STANDING * height])
    tracker = Tracker(model, model.rig, 1)  # type: ignore[arg-type]
    camera = model.rig.cameras[0]
    for t in range(6):
        model.people = [STANDING * height + (0, 0.03 * t, 0)]
        (person,) = tracker.step([painted(0)])
        assert (person.id, person.seen.tolist()) == (0, [True])
        off = camera.project(person.joints) - camera.project(model.people[0])
        assert np.abs(off).max() < 3


@pytest.mark.parametrize(("kind", "goes_on"), [(Monocular, True), (PaintedModel, False)])
def test_the_last_camera_that_sees_someone_goes_on(kind: type[PaintedModel], goes_on: bool) -> None:
    """Three of four cameras go dark: a model that answers one view keeps the person, others lose sight."""
    model = kind(circle_rig(4), [STANDING])
    tracker = Tracker(model, model.rig, 1)  # type: ignore[arg-type]
    for _ in range(3):
        assert len(tracker.step([painted(v) for v in range(4)])) == 1
    people = tracker.step([painted(0), BLACK, BLACK, BLACK])
    assert [person.seen.tolist() for person in people] == [[True, False, False, False]] * goes_on


def test_nobody_new_is_believed_of_one_view_of_several() -> None:
    """Where the rig has more cameras, one view starts no person, even for a model that could answer it."""
    model = Monocular(circle_rig(4), [STANDING])
    tracker = Tracker(model, model.rig, 1)  # type: ignore[arg-type]
    assert [tracker.step([painted(0), BLACK, BLACK, BLACK]) for _ in range(3)] == [[]] * 3


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.5])
def test_one_camera_sees_the_pose_where_it_looks(factor: float) -> None:
    """A pose that was guessed too near or too far for its size goes to where the camera's rays meet it."""
    camera = circle_rig(4).cameras[0]
    rays = camera.rays(camera.project(STANDING))
    guessed = STANDING + (factor - 1) * (STANDING.mean(0) - camera.center)
    assert _in_sight(guessed, camera.center, rays, np.ones(17)) == pytest.approx(STANDING, abs=1e-6)
    wild = rays.copy()
    wild[WRIST] = camera.rays(camera.project(STANDING[[0]]))[0]
    scores = np.where(np.arange(17) == WRIST, 0.05, 0.9)  # what hardly scores says nothing
    assert _in_sight(guessed, camera.center, wild, scores) == pytest.approx(STANDING, abs=1e-6)


def test_too_few_rays_leave_the_pose_alone() -> None:
    """Where hardly a keypoint is seen, or the pose would come to lie behind the camera, the guess stays."""
    camera = circle_rig(4).cameras[0]
    rays = camera.rays(camera.project(STANDING))
    guessed = STANDING + (1.0, 0, 0)
    few = np.where(np.arange(17) < 4, 0.9, 0.0)
    assert (_in_sight(guessed, camera.center, rays, few) == guessed).all()
    assert (_in_sight(guessed, camera.center, -rays, np.ones(17)) == guessed).all()
