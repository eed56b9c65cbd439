"""The answer as a table in text: one row per frame and person, metres, empty cells for what is not known.

The columns are those of `table`.
"""

from __future__ import annotations

import csv
import io

import numpy as np

from synpose.formats.json import DECIMALS
from synpose.formats.table import columns
from synpose.pose import PoseSequence

__all__ = ["encode"]


def encode(sequence: PoseSequence) -> bytes:
    """`sequence` as CSV (RFC 4180) with one header line; a frame without people has no row."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    named = columns(sequence)
    table.writerow(named)
    rounded = [np.round(column, DECIMALS).tolist() for column in named.values()]
    for row in zip(*rounded, strict=True):
        table.writerow(cell if cell == cell else "" for cell in row)  # only NaN differs from itself
    return text.getvalue().encode()
