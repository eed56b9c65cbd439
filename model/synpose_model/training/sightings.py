"""The task `sightings`: the relation module on what a spatial network said of rendered sequences, tokens included.

Where `rays` has motions and rigs without end but no tokens, this has tokens but only the sequences that were drawn.
`--data` is a folder with `sightings_train.npz` and `sightings_validation.npz` (of `synpose render sightings`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from torch import Tensor

from synpose_model.data.sightings import MOST_VIEWS, Sighting, draw_windows, read_sightings
from synpose_model.training.rays import RaysConfig, RaysTask, recorded
from synpose_model.training.task import TaskSpec

__all__ = ["SPEC", "SightingsTask"]


class SightingsTask(RaysTask):
    """Batches of recorded windows; loss and validation are those of `rays`, but for exchanges, which are not told."""

    calibration = "all"
    """For a network that was trained on rays, all of it is new: none of these images, motions with these bodies."""

    def sample(
        self, rng: np.random.Generator, split: str, count: int, length: int, views: int, hard: float
    ) -> Mapping[str, Tensor]:
        """As `RaysTask.sample`; `hard` is how often images are missing."""
        windows = draw_windows(rng, self._sightings[split], count, length, min(views, MOST_VIEWS))
        return recorded(rng, windows, hard)

    @cached_property
    def _sightings(self) -> dict[str, list[Sighting]]:
        train, validation = (read_sightings(self.folder / f"sightings_{s}.npz") for s in ("train", "validation"))
        return {"train": train, "validation": validation, self.calibration: train + validation}


SPEC = TaskSpec(RaysConfig, SightingsTask)
