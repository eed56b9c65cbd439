"""Lenses from videos of boards."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from synpose.errors import CalibrationError, OptionsError
from synpose_server.calibrate.intrinsics import Board, board_camera

SIZE = (640, 480)
K = np.array(((600.0, 0, 330), (0, 600, 236), (0, 0, 1)))
SQUARE = 60  # pixels of the drawn board


def _drawn(kind: str) -> NDArray[np.uint8]:
    """A flat picture of the board, with a white border of one square."""
    if kind == "charuco":
        markers = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
        drawn = cv2.aruco.CharucoBoard((7, 5), 1.0, 0.75, markers).generateImage((7 * SQUARE, 5 * SQUARE))
    else:
        squares = np.indices((6, 8)).sum(0) % 2
        drawn = np.kron(squares, np.ones((SQUARE, SQUARE))) * 255
    return np.pad(np.asarray(drawn, np.uint8), SQUARE, constant_values=255)


def _filmed(kind: str, count: int) -> list[bytes | None]:
    """PNG images of the board as a camera with `K` sees it from many sides, each five times, as a slow video has."""
    drawn = _drawn(kind)
    height, width = drawn.shape
    rng = np.random.default_rng(0)
    images: list[bytes | None] = []
    for _ in range(count):
        R = cv2.Rodrigues(rng.uniform(-0.6, 0.6, 3))[0]
        middle = np.array((rng.uniform(-0.25, 0.25), rng.uniform(-0.2, 0.2), rng.uniform(1.1, 1.6)))
        to_board = np.array(((1 / width, 0, -0.5), (0, 1 / width, -0.5 * height / width), (0, 0, 1)))
        seen = K @ np.column_stack((R[:, 0], R[:, 1], middle)) @ to_board
        image = cv2.warpPerspective(drawn, seen, SIZE, flags=cv2.INTER_AREA, borderValue=128)
        images += [cv2.imencode(".png", image)[1].tobytes()] + [None] * 4
    return images


@pytest.mark.parametrize(
    ("kind", "board"), [("checkerboard", "checkerboard:7x5"), ("charuco", "charuco:7x5:DICT_4X4_50")]
)
def test_a_filmed_board_gives_the_lens(kind: str, board: str) -> None:
    """Focal length and principal point come out of drawn images."""
    camera = board_camera("cam01", _filmed(kind, 16), Board.parse(board), 40_000_000)
    assert camera.size == SIZE
    np.testing.assert_allclose(camera.K[:2], K[:2], atol=6)


def test_a_board_that_is_not_there_is_told() -> None:
    """Too few sightings name the camera and say what to do."""
    with pytest.raises(CalibrationError, match="found in 0") as refusal:
        board_camera("cam01", _filmed("checkerboard", 3), Board.parse("checkerboard:9x6"), 40_000_000)
    assert (refusal.value.field, refusal.value.camera) == ("board", "cam01")


@pytest.mark.parametrize(
    "text", ["", "checkerboard", "checkerboard:9", "checkerboard:1x2", "chess:9x6", "charuco:5x7", "charuco:5x7:DICT_X"]
)
def test_other_boards_are_refused(text: str) -> None:
    """What is no board is an error of the option."""
    with pytest.raises(OptionsError, match="board must be like"):
        Board.parse(text)
