"""Who is who: people of a painted world, as imperfect detections of several cameras."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.server.painted import STANDING, circle_rig

from synpose.rig import Rig
from synpose_server.associate import Candidate, Detection, associate

Array = NDArray[np.float64]

PLACES = np.array(((0, 0), (1.1, 0.2), (-0.9, 0.8), (0.3, -1.2), (-1.1, -0.7), (0.5, 1.3)))
STANDS = np.column_stack((PLACES, np.zeros(6)))
NOISE = 2.0  # px, of people who are 150 to 350 px tall


def people(count: int) -> list[Array]:
    """`count` people at places of their own, turned and of heights of their own."""
    out = []
    for k in range(count):
        turn = np.array(((math.cos(k), -math.sin(k), 0), (math.sin(k), math.cos(k), 0), (0, 0, 1)))
        out.append(STANDING @ turn.T * (1 - 0.05 * k) + STANDS[k])
    return out


def seen(rig: Rig, view: int, person: Array, rng: np.random.Generator, score: float = 0.8) -> Detection:
    """What a detector with `NOISE` sees of `person` in `view`."""
    points = rig.cameras[view].project(person) + rng.normal(0, NOISE, (17, 2))
    keypoints = np.column_stack((points, np.full(17, score)))
    return Detection(view, keypoints, rig.cameras[view].rays(points), score)


def everyone(rig: Rig, crowd: list[Array], seed: int = 0) -> dict[tuple[int, int], Detection]:
    """The detection of each person by each view: (person, view)."""
    rng = np.random.default_rng(seed)
    return {(k, v): seen(rig, v, person, rng) for k, person in enumerate(crowd) for v in range(len(rig))}


def groups(candidates: list[Candidate], detections: dict[tuple[int, int], Detection]) -> list[set[tuple[int, int]]]:
    """Which (person, view) each candidate is made of."""
    key = {id(detection): where for where, detection in detections.items()}
    return [{key[id(detection)] for detection in candidate.detections} for candidate in candidates]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_everyone_is_found_once(count: int) -> None:
    """From noisy detections each person is one candidate of all views, with joints within a few centimetres."""
    rig = circle_rig(5)
    crowd = people(count)
    detections = everyone(rig, crowd)
    candidates = associate(rig, list(detections.values()))
    found = groups(candidates, detections)
    assert sorted(map(sorted, found)) == [[(k, v) for v in range(5)] for k in range(count)]
    for candidate, members in zip(candidates, found, strict=True):
        (who,) = {person for person, _ in members}
        off = np.linalg.norm(candidate.joints - crowd[who], axis=-1)
        assert off.max() < 0.05, (who, off.max())
        assert candidate.error < 0.03


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_detections_does_not_matter(seed: int) -> None:
    """Whatever order the views list their people in, the same people come out, in the same order."""
    rig = circle_rig(4)
    detections = everyone(rig, people(3))
    shuffled = list(detections.items())
    np.random.default_rng(seed).shuffle(shuffled)
    straight = associate(rig, list(detections.values()))
    mixed = associate(rig, [detection for _, detection in shuffled])
    assert groups(mixed, detections) == groups(straight, detections)
    for a, b in zip(straight, mixed, strict=True):
        assert a.joints == pytest.approx(b.joints, abs=1e-9)


def test_missing_detections_leave_the_others_together() -> None:
    """People whom some views miss are made of the views that saw them; whom one view sees is nobody."""
    rig = circle_rig(5)
    detections = everyone(rig, people(4))
    for gone in ((0, 0), (1, 1), (1, 2), (2, 0), (2, 2), (2, 4), *((3, v) for v in range(4))):
        del detections[gone]
    found = groups(associate(rig, list(detections.values())), detections)
    expected = [{where for where in detections if where[0] == k} for k in range(3)]
    assert sorted(map(sorted, found)) == sorted(map(sorted, expected))


def test_a_bystander_in_two_views_comes_last() -> None:
    """Of two people the one whom more views see is first, though the detector is no less sure of the other."""
    rig = circle_rig(4)
    detections = everyone(rig, people(2))
    del detections[0, 2], detections[0, 3]
    found = groups(associate(rig, list(detections.values())), detections)
    assert found == [{(1, v) for v in range(4)}, {(0, 0), (0, 1)}]


@pytest.mark.parametrize("near", [0, 1])
def test_of_two_whom_as_many_views_show_the_larger_comes_first(near: int) -> None:
    """The cameras were set up for someone; the detector's being a little surer of who passes behind is nothing."""
    rig, rng = circle_rig(4).subset(["cam1", "cam2"]), np.random.default_rng(0)
    middle = np.mean([camera.center for camera in rig], axis=0) * (1, 1, 0)
    towards = middle / np.linalg.norm(middle)
    crowd = [STANDING + towards * (0.6 if person == near else -1.6) for person in range(2)]
    scores = [0.7 if person == near else 0.75 for person in range(2)]
    detections = {(k, v): seen(rig, v, crowd[k], rng, scores[k]) for k in range(2) for v in range(2)}
    found = groups(associate(rig, list(detections.values())), detections)
    assert found == [{(near, 0), (near, 1)}, {(1 - near, 0), (1 - near, 1)}]


@pytest.mark.parametrize("scale", [1000.0, 0.01])
def test_a_wrong_unit_changes_nothing_but_the_size(scale: float) -> None:
    """A rig whose lengths are in another unit finds the same people, in that unit."""
    true, wrong = circle_rig(4), circle_rig(4, scale=scale)
    detections = everyone(true, people(3))
    expected = associate(true, list(detections.values()))
    candidates = associate(wrong, list(detections.values()))
    assert groups(candidates, detections) == groups(expected, detections)
    for a, b in zip(candidates, expected, strict=True):
        assert a.joints / scale == pytest.approx(b.joints, abs=1e-6)
        assert a.error == pytest.approx(b.error, abs=1e-6)


def test_strangers_are_not_made_one() -> None:
    """Two views that see different people agree on nobody."""
    rig = circle_rig(4)
    detections = everyone(rig, people(2))
    assert associate(rig, [detections[0, 0], detections[1, 1]]) == []


def test_one_view_gives_nobody() -> None:
    """Detections of one camera are never paired, and no detections are nobody."""
    rig = circle_rig(4)
    detections = everyone(rig, people(1))
    twice = [detections[0, 0], everyone(rig, people(1), seed=1)[0, 0]]
    assert associate(rig, twice) == []
    assert associate(rig, []) == []


def test_a_wrong_detection_does_not_join() -> None:
    """A view that sees a shifted figure is left out of the person, and its place is not taken twice."""
    rig = circle_rig(4)
    detections = everyone(rig, people(1))
    astray = detections[0, 2].keypoints + (90, 0, 0)
    detections[0, 2] = Detection(2, astray, rig.cameras[2].rays(astray[:, :2]), 0.8)
    found = groups(associate(rig, list(detections.values())), detections)
    assert found == [{(0, 0), (0, 1), (0, 3)}]


def test_joints_that_nobody_saw_well_are_unknown() -> None:
    """A joint that fewer than two views are sure of is NaN; with fewer than five shared joints there is no person."""
    rig = circle_rig(2)
    detections = list(everyone(rig, people(1)).values())
    detections[0].keypoints[4:9, 2] = 0.1
    (person,) = associate(rig, detections)
    assert np.isnan(person.joints[4:9]).all()
    assert np.isfinite(np.delete(person.joints, np.s_[4:9], axis=0)).all()
    detections[0].keypoints[:13, 2] = 0.1
    assert associate(rig, detections) == []


def test_lines_that_meet_behind_a_camera_are_no_agreement() -> None:
    """What the first camera sees upside down fits a person behind it, whom the second camera does see: nobody."""
    rig = circle_rig(2)
    first, _ = rig
    person = STANDING + (6, -0.5, 0)
    through = first.to_camera(person)
    assert (through[:, 2] < 0).all()
    pixels = through[:, :2] / through[:, 2:] @ first.K[:2, :2].T + first.K[:2, 2]
    mirrored = Detection(0, np.column_stack((pixels, np.full(17, 0.8))), first.rays(pixels), 0.8)
    assert associate(rig, [mirrored, seen(rig, 1, person, np.random.default_rng(0))]) == []
