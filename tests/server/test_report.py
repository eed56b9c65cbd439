"""Notices about cameras: what was left out, adapted, dark, missing or without a person, and how often."""

from __future__ import annotations

import numpy as np
import pytest
from tests.server.painted import circle_rig

from synpose.pose import Notice, Person
from synpose.rig import Rig
from synpose_model.image import Image
from synpose_server.report import ViewReport, rig_notices
from synpose_server.synchronise import FrameSet

NAMES = ("cam1", "cam2", "cam3")


def image(level: int) -> Image:
    """A picture of one brightness."""
    return Image((np.full((48, 64), level, np.uint8),))


Step = tuple[list[Image | None], list[tuple[str, ...]]]

LIT, BLACK = image(90), image(16)


def report(*steps: Step) -> list[tuple[str, str | None]]:
    return [(notice.code, notice.camera) for notice in notices(*steps)]


def notices(*steps: Step) -> tuple[Notice, ...]:
    views = ViewReport(NAMES)
    for index, (images, people) in enumerate(steps):
        views.add(FrameSet(index, tuple(images)), people)
    return views.notices()


def test_a_good_clip_has_nothing_to_tell() -> None:
    """Every camera seen and used gives no notice, nor does a clip without frames."""
    good: Step = ([LIT, LIT, LIT], [NAMES])
    assert report(good, good, good) == []
    assert report() == []


@pytest.mark.parametrize(
    ("cameras", "sigma", "codes"),
    [(3, 0.05, []), (3, 0.8, ["uncertain"]), (1, 0.05, ["one-camera"]), (1, 0.8, ["one-camera"]), (3, np.nan, [])],
)
def test_answers_that_are_half_a_guess_are_told(cameras: int, sigma: float, codes: list[str]) -> None:
    """A clip of one camera, and cameras whose median joint is uncertain by more than a quarter of a metre."""
    views = ViewReport(NAMES[:cameras])
    views.add(FrameSet(0, (LIT,) * cameras), [NAMES[:cameras]])
    views.tell([Person(0, 0.9, np.zeros((17, 3)), np.full(17, sigma), NAMES[:cameras])])
    assert [notice.code for notice in views.notices()] == codes


def test_missing_images_are_counted() -> None:
    """A camera without an image is told with the number of frame sets that lack it."""
    good: Step = ([LIT, LIT, LIT], [NAMES])
    gap: Step = ([LIT, None, LIT], [("cam1", "cam3")])
    assert report(good, gap, gap) == [("missing-images", "cam2")]
    assert "in 2 of 3 frame sets" in notices(good, gap, gap)[0].message


def test_black_images_are_told_as_black() -> None:
    """A dark camera is told as black, whether or not anybody is found, and not as one that sees nobody."""
    assert report(([LIT, LIT, BLACK], [("cam1", "cam2")])) == [("black-images", "cam3")]
    assert report(([LIT, LIT, BLACK], [])) == [("black-images", "cam3"), ("nobody-found", None)]


def test_a_camera_that_was_used_is_not_black() -> None:
    """What a camera gave counts: a dark one that still showed the person has nothing to explain."""
    assert report(([LIT, LIT, BLACK], [NAMES])) == []


def test_a_dim_image_is_not_black() -> None:
    """A level above that of video black is light."""
    assert report(([LIT, LIT, image(40)], [("cam1", "cam2")])) == [("unseen-views", "cam3")]


def test_views_without_the_person_are_told_while_others_see_one() -> None:
    """A view counts as unseen if nobody in the frame set used it; with nobody at all it is not the view's doing."""
    assert report(([LIT] * 3, [("cam1", "cam2")])) == [("unseen-views", "cam3")]
    assert report(([LIT] * 3, [("cam1", "cam2"), ("cam2", "cam3")])) == []
    assert report(([LIT] * 3, [])) == [("nobody-found", None)]


def test_frame_sets_without_people_are_counted() -> None:
    """A clip in which nobody is found now and then says how often."""
    seen: Step = ([LIT] * 3, [NAMES])
    (notice,) = notices(seen, ([LIT] * 3, []), seen, ([LIT] * 3, []), ([LIT] * 3, []))
    assert (notice.code, notice.camera) == ("nobody-found", None)
    assert "in 3 of 5 frame sets" in notice.message


def test_cameras_left_out_and_adapted_are_told() -> None:
    """Cameras without video are told in one notice; one with another image size says what became of its intrinsics."""
    rig = circle_rig(4)
    used = Rig((rig.cameras[3], rig.cameras[1].resized((320, 240)), rig.cameras[0]))
    told = rig_notices(rig, used)
    assert [(notice.code, notice.camera) for notice in told] == [("missing-camera", "cam3"), ("image-size", "cam2")]
    assert "320×240" in told[1].message
    assert "640×480" in told[1].message
    assert "scaled" in told[1].message
    (both, trimmed) = rig_notices(rig, Rig((rig.cameras[0].resized((632, 480)), rig.cameras[3])))
    assert (both.code, both.camera) == ("missing-camera", None)
    assert "cam2, cam3" in both.message
    assert "trimmed" in trimmed.message
    assert rig_notices(rig, rig) == ()
