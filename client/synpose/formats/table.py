"""The answer as columns: one row a frame and person, the layout of CSV, Parquet and data frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synpose.pose import PoseSequence
from synpose.skeleton import Skeleton

__all__ = ["column_names", "columns"]


def column_names(skeleton: Skeleton) -> tuple[str, ...]:
    """frame, timestamp, person, score, then `<joint>_x`, `_y`, `_z`, `_sigma` for each joint."""
    return (
        "frame", "timestamp", "person", "score",
        *(f"{joint}_{part}" for joint in skeleton.joints for part in ("x", "y", "z", "sigma")),
    )  # fmt: skip


def columns(sequence: PoseSequence) -> dict[str, NDArray[Any]]:
    """Columns by name, metres and seconds; all four values of a joint that is not known are NaN.

    A frame without people has no row.
    """
    rows = [(frame, person) for frame in sequence.frames for person in frame.people]
    skeleton = sequence.header.skeleton
    values = np.full((len(rows), len(skeleton), 4), np.nan)
    for row, (_, person) in zip(values, rows, strict=True):
        row[:, :3], row[:, 3] = person.joints, person.sigma
    values[~np.isfinite(values[..., :3]).all(-1)] = np.nan
    leading: list[NDArray[Any]] = [
        np.array([frame.index for frame, _ in rows], dtype=np.int64),
        np.array([frame.timestamp for frame, _ in rows], dtype=np.float64),
        np.array([person.id for _, person in rows], dtype=np.int64),
        np.array([person.score for _, person in rows], dtype=np.float64),
    ]
    table = [*leading, *values.transpose(1, 2, 0).reshape(4 * len(skeleton), len(rows))]
    return dict(zip(column_names(skeleton), table, strict=True))
