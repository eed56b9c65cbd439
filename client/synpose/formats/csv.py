"""The answer as a table: one row per frame and person, metres, empty cells for what is not known.

Columns: frame, timestamp, person, score, then `<joint>_x`, `_y`, `_z`, `_sigma` for each joint.
"""

from __future__ import annotations

import csv
import io

import numpy as np

from synpose.formats.json import DECIMALS
from synpose.pose import PoseSequence

__all__ = ["encode"]


def encode(sequence: PoseSequence) -> bytes:
    """`sequence` as CSV (RFC 4180) with one header line; a frame without people has no row."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    columns = [f"{joint}_{part}" for joint in sequence.header.skeleton.joints for part in ("x", "y", "z", "sigma")]
    table.writerow(("frame", "timestamp", "person", "score", *columns))
    for frame in sequence.frames:
        for person in frame.people:
            values = np.column_stack((person.joints, person.sigma))  # (J, 4)
            values[~np.isfinite(person.joints).all(1)] = np.nan
            cells = [value if np.isfinite(value) else "" for value in np.round(values.ravel(), DECIMALS).tolist()]
            table.writerow(
                (frame.index, round(frame.timestamp, DECIMALS), person.id, round(person.score, DECIMALS), *cells)
            )
    return text.getvalue().encode()
