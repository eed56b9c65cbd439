"""`open_dataset`: the loader of a dataset by its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from synpose.errors import NotFound
from synpose_model.datasets.human36m import Human36M
from synpose_model.datasets.mpi_inf_3dhp import MpiInf3dhp
from synpose_model.datasets.panoptic import Panoptic
from synpose_model.datasets.sequence import Dataset

__all__ = ["DATASETS", "open_dataset"]

DATASETS: dict[str, Callable[[Path], Dataset]] = {
    "human36m": Human36M,
    "mpi-inf-3dhp": MpiInf3dhp,
    "panoptic": Panoptic,
}


def open_dataset(kind: str, folder: str | os.PathLike[str]) -> Dataset:
    """The dataset `kind` (a key of `DATASETS`) in `folder`, with the cameras of its usual protocol.

    Raises `NotFound` for an unknown kind, `InvalidInput` for a folder that is not there; files are read later.
    """
    if kind not in DATASETS:
        raise NotFound(f"no dataset {kind!r}; there are {', '.join(DATASETS)}", field="dataset")
    return DATASETS[kind](Path(folder))
