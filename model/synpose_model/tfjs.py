"""Weights of a TF.js graph model: a `.json` (topology and weight manifest) beside its `.bin`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synpose.errors import BundleError

__all__ = ["read_weights"]


def read_weights(path: Path) -> dict[str, NDArray[Any]]:
    """Every weight of the graph model whose json is `path`, by its name in the graph.

    Arrays keep the dtype and the layout of the graph: convolutions are (height, width, in, out), depthwise ones
    (height, width, channels, 1). Weights stored as float16 come back as float32, exactly. Raises `BundleError` for
    files that are missing, or that are not such a model.
    """
    try:
        groups = json.loads(path.read_bytes())["weightsManifest"]
        weights: dict[str, NDArray[Any]] = {}
        for group in groups:
            data = b"".join((path.parent / name).read_bytes() for name in group["paths"])
            offset = 0
            for entry in group["weights"]:
                quantization = entry.get("quantization", {})
                if "scale" in quantization:
                    raise BundleError(f"{path.name}: {entry['name']} is stored as scaled integers, which is not read here")
                stored = np.dtype(quantization.get("dtype", entry["dtype"]))
                size = math.prod(entry["shape"])
                values = np.frombuffer(data, stored, size, offset).reshape(entry["shape"])
                weights[entry["name"]] = values.astype(entry["dtype"])
                offset += values.nbytes
            if offset != len(data):
                raise BundleError(f"{path.name}: the manifest describes {offset} bytes of weights, there are {len(data)}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} is not a TF.js graph model that can be read: {error}") from error
    return weights
