"""What a spatial network says of rendered sequences: rays, scores and tokens, beside the true joints.

Errors can be replayed on any motion and rig, tokens cannot: they are what the network saw of that image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synpose.errors import InvalidInput

__all__ = ["MOST_VIEWS", "SERVED", "Sighting", "SightingWindows", "draw_windows", "read_sightings", "save_sightings"]

Single = NDArray[np.float32]

SERVED = "sightings_served.npz"
"""In the folder that training reads: what a server saw, with subsets of the cameras."""

MOST_VIEWS = 6
"""Cameras of a rendered clip, and so of a window."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """One clip of F frames and V views: `origins` `(V, 3)`, `directions` `(F, V, K, 3)` unit rays, world, metres;
    `scores` `(F, V, K)`, `tokens` `(F, V, D)`; `joints` `(F, 27, 3)` are the truth.
    """

    origins: Single
    directions: Single
    scores: Single
    tokens: Single
    joints: Single


class SightingWindows(NamedTuple):
    """B windows of T frames and V views, everything `(B, T, V, ...)` but `joints` `(B, T, 27, 3)`."""

    origins: Single
    directions: Single
    scores: Single
    tokens: Single
    joints: Single


def draw_windows(
    rng: np.random.Generator, sightings: Sequence[Sighting], count: int, length: int, views: int
) -> SightingWindows:
    """`count` random windows of `length` successive frames, of `views` cameras in random order of a clip with as many.

    Raises `InvalidInput` where no clip is large enough.
    """
    fit = [clip for clip in sightings if len(clip.origins) >= views and len(clip.joints) >= length]
    if not fit:
        raise InvalidInput(f"no recorded sequence has {views} cameras and {length} frames", field="data")
    parts = []
    for _ in range(count):
        clip = fit[int(rng.integers(len(fit)))]
        begin = int(rng.integers(len(clip.joints) - length + 1))
        use = rng.permutation(len(clip.origins))[:views]
        some = slice(begin, begin + length)
        origins = np.broadcast_to(clip.origins[use], (length, views, 3))
        parts.append(
            (origins, clip.directions[some][:, use], clip.scores[some][:, use], clip.tokens[some][:, use],
             clip.joints[some])
        )  # fmt: skip
    return SightingWindows(*(np.stack(part) for part in zip(*parts, strict=True)))


def save_sightings(path: Path, sightings: Sequence[Sighting]) -> None:
    """Write `sightings` to the .npz file `path`."""
    named = {f"{name}_{i}": value for i, clip in enumerate(sightings) for name, value in vars(clip).items()}
    np.savez_compressed(path, count=len(sightings), **named)


def read_sightings(path: Path) -> list[Sighting]:
    """The sightings in the file `path`; raises `InvalidInput` where there are none."""
    names = Sighting.__dataclass_fields__
    try:
        with np.load(path) as file:
            return [Sighting(*(file[f"{name}_{i}"] for name in names)) for i in range(int(file["count"]))]
    except (OSError, KeyError, ValueError) as error:
        raise InvalidInput(
            f"no sightings in {path}: make them with `synpose render sightings` ({error})", field="data"
        ) from None
