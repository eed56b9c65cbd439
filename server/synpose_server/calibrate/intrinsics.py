"""A camera's lens: from a video of a board, from a calibration that is there already, or not known at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from synpose.errors import CalibrationError, OptionsError
from synpose.rig import Camera
from synpose_model.image import Image
from synpose_server.decode import open_source
from synpose_server.sources import Source

__all__ = ["Board", "board_camera", "unknown_camera"]

_MOST_VIEWS = 40  # of the board; more add time, not accuracy
_LEAST_VIEWS = 6
_EVERY = 5  # images of a video; neighbours show the board at the same place
_MOST_IMAGES = 3000
_LEAST_CORNERS = 8
_MOST_ERROR = 2.0  # pixels, mean over the board's views


@dataclass(frozen=True)
class Board:
    """A checkerboard of `columns` × `rows` inner corners, or a ChArUco board of so many squares.

    How large it is does not matter to a lens. `find` answers points of the board and of a grey image, both `(N, 2)`.
    """

    columns: int
    rows: int
    find: Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32]] | None]

    @classmethod
    def parse(cls, description: str) -> Board:
        """The board of `checkerboard:9x6` or `charuco:5x7:DICT_4X4_50[:0.75]`; raises `OptionsError`."""
        kind, *parts = description.split(":")
        try:
            columns, rows = (int(side) for side in parts[0].lower().split("x"))
            if not (3 <= columns <= 50 and 3 <= rows <= 50):
                raise ValueError("a board has 3 to 50 columns and rows")
            if kind == "checkerboard" and len(parts) == 1:
                return cls(columns, rows, _checkerboard(columns, rows))
            if kind == "charuco" and len(parts) in (2, 3):
                share = float(parts[2]) if len(parts) == 3 else 0.75
                return cls(columns, rows, _charuco(columns, rows, parts[1], share))
            raise ValueError(f"{kind!r:.40} with {len(parts)} parts is no board")
        except (ValueError, IndexError, cv2.error) as error:
            raise OptionsError(
                "board must be like checkerboard:9x6 (inner corners) or charuco:5x7:DICT_4X4_50 (squares):"
                f" {str(error)[:100]}",
                field="options.board",
            ) from None


def board_camera(name: str, source: Source, board: Board, max_pixels: int) -> Camera:
    """The lens of the camera that filmed `board` in `source`, as a camera at the world's origin.

    Raises `CalibrationError` where the board was seen too seldom or does not fit, `VideoError` as any video.
    """
    reader = open_source(name, source, max_pixels)
    try:
        seen = []
        for index, image in enumerate(reader):
            if index % _EVERY == 0 and image is not None and (corners := board.find(_grey(image))) is not None:
                seen.append(corners)
            if index >= _MOST_IMAGES:
                break
        size = reader.size
    finally:
        reader.close()
    if len(seen) < _LEAST_VIEWS:
        raise CalibrationError(
            f"the board was found in {len(seen)} of its video's images; film it sharp, whole and from many sides"
            f" ({_LEAST_VIEWS} are the least)",
            field="board",
            camera=name,
        )
    chosen = [seen[i] for i in np.unique(np.linspace(0, len(seen) - 1, _MOST_VIEWS).astype(int))]
    flat = [np.column_stack((points, np.zeros(len(points)))).astype(np.float32) for points, _ in chosen]
    found = [pixels.reshape(-1, 1, 2) for _, pixels in chosen]
    error, K, distortion, *_ = cv2.calibrateCamera(flat, found, size, None, None)
    if not error <= _MOST_ERROR:
        raise CalibrationError(
            f"the board does not fit what its video shows (off by {error:.1f} px): are its rows and columns right?",
            field="board",
            camera=name,
        )
    return Camera(name, size, K, np.eye(3), np.zeros(3), distortion.ravel()[:5])


def unknown_camera(name: str, size: tuple[int, int]) -> Camera:
    """A camera of which only the image's size is known: the principal point in its middle, no distortion, and a focal
    length of one long side, which is to be found.
    """
    (w, h), f = size, max(size)
    K = ((f, 0, (w - 1) / 2), (0, f, (h - 1) / 2), (0, 0, 1))
    return Camera(name, size, K, np.eye(3), np.zeros(3))


def _checkerboard(columns: int, rows: int) -> Any:
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2).astype(np.float32)

    def find(grey: NDArray[np.uint8]) -> Any:
        found, corners = cv2.findChessboardCornersSB(grey, (columns, rows), flags=cv2.CALIB_CB_NORMALIZE_IMAGE)
        return (grid, corners.reshape(-1, 2)) if found else None

    return find


def _charuco(columns: int, rows: int, dictionary: str, share: float) -> Any:
    if not dictionary.startswith("DICT_") or not hasattr(cv2.aruco, dictionary):
        raise ValueError(f"no dictionary {dictionary!r:.40}")
    if not 0 < share < 1:
        raise ValueError("a marker is smaller than its square")
    markers = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, dictionary))
    board = cv2.aruco.CharucoBoard((columns, rows), 1.0, share, markers)
    detector = cv2.aruco.CharucoDetector(board)
    corners = np.asarray(board.getChessboardCorners(), np.float32)[:, :2]

    def find(grey: NDArray[np.uint8]) -> Any:
        pixels, ids, *_ = detector.detectBoard(grey)
        if ids is None or len(ids) < _LEAST_CORNERS:
            return None
        return corners[ids.ravel()], pixels.reshape(-1, 2).astype(np.float32)

    return find


def _grey(image: Image) -> NDArray[np.uint8]:
    pixels = image.crop(np.eye(2, 3), image.size)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
