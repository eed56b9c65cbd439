"""The answer as a Parquet table: the columns of `table`, null for what is not known.

The schema's metadata holds the header of the JSON answer under `synpose`: model, skeleton, units and frame rate.
"""

from __future__ import annotations

import io

from synpose.formats import json
from synpose.formats.table import columns
from synpose.pose import PoseSequence

__all__ = ["encode"]


def encode(sequence: PoseSequence) -> bytes:
    """`sequence` as Parquet, one row a frame and person; needs pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {name: pa.array(column, from_pandas=True) for name, column in columns(sequence).items()}
    metadata = {"synpose": json.dump(json.header_record(sequence.header))}
    file = io.BytesIO()
    pq.write_table(pa.table(arrays).replace_schema_metadata(metadata), file)
    return file.getvalue()
