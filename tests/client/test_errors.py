"""The tree of errors and how it crosses the wire."""

from __future__ import annotations

import pytest

from synpose import errors
from synpose.errors import STATUS, CalibrationError, InvalidInput, ServerError, SynposeError, from_problem, status_of


@pytest.mark.parametrize("kind", STATUS, ids=lambda kind: kind.__name__)
def test_errors_survive_the_wire(kind: type[SynposeError]) -> None:
    """An error's problem type gives the same class back, with message, field and camera."""
    problem = {"type": f"urn:synpose:{STATUS[kind].type}", "detail": "no", "field": "calibration", "camera": "cam01"}
    error = from_problem(problem)
    assert type(error) is kind
    assert (error.message, error.field, error.camera) == ("no", "calibration", "cam01")
    assert status_of(error) is STATUS[kind]


def test_every_error_has_a_status() -> None:
    """All exported classes but the base stand in the table, with distinct types."""
    kinds = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, SynposeError)}
    assert kinds - {SynposeError} == set(STATUS)
    assert len({status.type for status in STATUS.values()}) == len(STATUS)


def test_subclasses_take_their_ancestors_status() -> None:
    """An error that is not in the table has the code of its nearest ancestor."""

    class Special(CalibrationError):
        pass

    assert status_of(Special("x")) is STATUS[CalibrationError]
    assert status_of(SynposeError("x")) is STATUS[ServerError]
    assert issubclass(CalibrationError, InvalidInput)


def test_whatever_is_echoed_can_be_written() -> None:
    """Names from outside may hold halves of characters, which no door could write."""
    error = InvalidInput("no camera \ud800", field="options.\udfff", camera="\ud800é")
    assert (error.message, error.field, error.camera) == ("no camera ?", "options.?", "?é")
    assert str(error) == "camera '?é': no camera ?"


def test_unknown_problems_are_server_errors() -> None:
    """A body that is no problem of ours still gives an error with a message."""
    assert type(from_problem({})) is ServerError
    assert from_problem({}).message
    assert from_problem({"title": "Bad Gateway"}).message == "Bad Gateway"


def test_errors_name_their_camera() -> None:
    """The text of an error starts with the camera, if there is one."""
    assert str(CalibrationError("K is missing", camera="cam01")) == "camera 'cam01': K is missing"
    assert str(CalibrationError("K is missing")) == "K is missing"
