"""Real images for the networks: grey crops of the balancing example, the same bytes on every machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

_EXAMPLE = Path(__file__).parents[2] / "examples" / "balancing"


@cache
def _luma(camera: str, frame: int) -> NDArray[np.uint8]:
    # the decoder's luma plane is exact; its conversion to RGB would differ between builds
    with av.open(str(_EXAMPLE / f"{camera}.mp4")) as video:
        for index, image in enumerate(video.decode(video=0)):
            if index == frame:
                plane: NDArray[np.uint8] = image.to_ndarray(format="yuv420p")[: image.height]
                return plane
    raise AssertionError(f"{camera} has no frame {frame}")


@pytest.fixture(scope="session")
def grey_crop() -> Callable[[str, int, int], NDArray[np.uint8]]:
    """`grey_crop(camera, frame, side)` `(side, side, 3)`: the man in the middle, every n-th pixel of about 1000."""

    def crop(camera: str, frame: int, side: int) -> NDArray[np.uint8]:
        luma = _luma(camera, frame)
        step = 1024 // side
        span = step * side
        top, left = (luma.shape[0] - span) // 2, (luma.shape[1] - span) // 2
        square = luma[top : top + span : step, left : left + span : step]
        return np.repeat(square[..., None], 3, axis=2)

    return crop
