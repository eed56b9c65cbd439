"""Messages and vocabulary, both ways."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synpose import live_json, live_wire
from synpose.calibration_options import CalibrationOptions
from synpose.errors import STATUS, InvalidInput, NotFound, OptionsError, SynposeError, from_problem, to_problem
from synpose.live import StreamPolicy
from synpose.options import Options
from synpose.pose import Frame, ModelInfo, Notice, Person, PoseHeader
from synpose.skeleton import SKELETONS
from synpose.v1 import pose_pb2 as pb
from synpose.wire import (
    calibration_from_message,
    calibration_to_message,
    frame_from_message,
    frame_to_message,
    header_from_message,
    header_to_message,
    options_from_message,
    options_to_message,
)


def over_the_wire(message: pb.Frame) -> pb.Frame:
    return pb.Frame.FromString(message.SerializeToString())


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options("other", "halpe26", 3, "mm", 59.94, {"cam02": 6.86, "cam 3": -0.5}),
        Options(units="m"),
        Options(fps=25.0),
        Options(offsets={"cam02": 0}),
    ],
)
def test_options_survive(options: Options) -> None:
    """Options come back equal, set or not."""
    assert options_from_message(options_to_message(options)) == options


def test_unset_options_take_the_defaults() -> None:
    """An empty message means the default options."""
    assert options_from_message(pb.Options()) == Options()


def test_no_offset_is_none() -> None:
    """What names no camera is the same as nothing, and goes to no server; a copy is kept, and options have a hash."""
    given = {"cam02": 6.86}
    options = Options(offsets=given)
    given["cam02"] = 3.0
    assert options.offsets == {"cam02": 6.86}
    assert len({options, Options(offsets={"cam02": 6.86}), Options(offsets={"cam02": 3.0})}) == 2
    assert Options(offsets={}) == Options()
    assert not options_to_message(Options(offsets={})).ListFields()[3:]


@pytest.mark.parametrize(
    ("offsets", "camera"),
    [
        ([6.86], None),
        ("cam02=6.86", None),
        ({2: 6.86}, None),
        ({"cam01": 1, "cam02": "6.86"}, "cam02"),
        ({"cam02": True}, "cam02"),
        ({"cam02": None}, "cam02"),
        ({"cam02": float("nan")}, "cam02"),
        ({"cam02": float("-inf")}, "cam02"),
        ({"cam02": 10**400}, "cam02"),
        ({"cam02": -100_001}, "cam02"),
    ],
)
def test_offsets_are_numbers_by_camera(offsets: object, camera: str | None) -> None:
    """Anything else is an error that names the option, and the camera where one is to blame."""
    with pytest.raises(OptionsError) as caught:
        Options.from_mapping({"offsets": offsets})
    assert (caught.value.field, caught.value.camera) == ("options.offsets", camera)


def test_live_streams_have_no_offsets() -> None:
    """Who gives some is told what to do, by either wire."""
    message = pb.StreamPosesRequest(
        start=pb.StreamStart(calibration_hash="x", options=pb.Options(offsets={"cam02": 7}))
    )
    text = '{"type": "start", "calibration_hash": "x", "options": {"offsets": {"cam02": 7}}}'
    reads: tuple[Callable[[], object], ...] = (
        lambda: live_wire.from_client(message),
        lambda: live_json.from_client(text),
    )
    for read in reads:
        with pytest.raises(OptionsError, match="timestamps") as caught:
            read()
        assert caught.value.field == "options.offsets"


def test_numbers_beyond_all_floats_are_refused() -> None:
    """JSON's integers may be of any length; none is taken for a number that means something."""
    for options in (
        lambda: Options.from_mapping({"fps": 10**400}),
        lambda: StreamPolicy.from_mapping({"max_wait": 10**400}),
        lambda: StreamPolicy.from_mapping({"sync_window": -(10**400)}),
        lambda: CalibrationOptions.from_mapping({"height": 10**400}),
    ):
        with pytest.raises(OptionsError):
            options()


def test_set_but_empty_options_are_refused() -> None:
    """A field that was set to nothing is an error, not a default."""
    with pytest.raises(OptionsError, match="model"):
        options_from_message(pb.Options(model=""))
    with pytest.raises(OptionsError, match="max_people"):
        options_from_message(pb.Options(max_people=0))
    with pytest.raises(NotFound, match="coco17"):
        options_from_message(pb.Options(skeleton="nobody"))


def test_calibration_files_survive() -> None:
    """Files keep name and content."""
    files = {"intri.yml": b"%YAML", "extri.yml": b"\x00\xff"}
    assert calibration_from_message(calibration_to_message(files)) == files


def test_calibration_needs_distinct_files() -> None:
    """Two files of one name are an error that names the field."""
    with pytest.raises(InvalidInput) as caught:
        calibration_from_message(pb.Calibration(files=[pb.Calibration.File(name="a.toml")] * 2))
    assert caught.value.field == "calibration"


@pytest.mark.parametrize("name", SKELETONS)
def test_header_survives(name: str) -> None:
    """A header comes back equal with every skeleton, whether or not something was left out."""
    for left_out in ({}, {"cam02": 7, "cam 3": 1}):
        header = PoseHeader(ModelInfo("default", "1.2"), SKELETONS[name], 59.94, left_out=left_out)
        assert header_from_message(pb.Header.FromString(header_to_message(header).SerializeToString())) == header


@given(
    st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 3, st.floats(0, 10), st.booleans()), max_size=26),
    st.floats(0, 1),
    st.floats(0, 1e5),
)
def test_frame_survives_to_the_last_bit(
    rows: list[tuple[float, float, float, float, bool]], score: float, timestamp: float
) -> None:
    """Positions, sigmas, score and time come back exactly, so that gRPC and JSON give equal answers."""
    known = np.array([row[4] for row in rows], bool)
    joints = np.array([row[:3] for row in rows], float).reshape(-1, 3)
    sigma = np.array([row[3] for row in rows], float)
    joints[~known] = np.nan
    sigma[~known] = np.nan
    person = Person(3, score, joints, sigma, ("cam01", "cam 02"))
    notices = (Notice("missing-view", "no image", "cam02"), Notice("short", "shorter", None))
    back = frame_from_message(over_the_wire(frame_to_message(Frame(7, timestamp, (person,), notices))))
    assert (back.index, back.timestamp, back.notices) == (7, timestamp, notices)
    (got,) = back.people
    assert (got.id, got.score, got.views) == (3, score, ("cam01", "cam 02"))
    np.testing.assert_array_equal(got.joints, joints)
    np.testing.assert_array_equal(got.sigma, sigma)


def test_unknown_joint_has_no_position_on_the_wire() -> None:
    """A joint that cannot be known is an empty message, never NaN or zero."""
    person = Person(0, 0.5, np.array([[np.nan] * 3, [1.0, 2.0, 0.0]]), np.array([np.nan, np.nan]), ())
    message = frame_to_message(Frame(0, 0.0, (person,))).people[0]
    assert not message.joints[0].ListFields()
    assert message.joints[1].HasField("position")
    assert not message.joints[1].HasField("sigma")


@pytest.mark.parametrize("kind", STATUS)
def test_error_survives_as_a_problem(kind: type[SynposeError]) -> None:
    """An error becomes a problem document and comes back as the same exception with its field and camera."""
    problem = to_problem(kind("it broke", field="options.fps", camera="cam02"))
    assert problem["type"].startswith("urn:synpose:problem:")
    assert problem["status"] == STATUS[kind].http
    back = from_problem(problem)
    assert type(back) is kind
    assert (back.message, back.field, back.camera) == ("it broke", "options.fps", "cam02")


def test_problem_leaves_out_what_is_not_known() -> None:
    """An error without field and camera gives a problem without them."""
    assert set(to_problem(SynposeError("it broke"))) == {"type", "title", "status", "detail"}
