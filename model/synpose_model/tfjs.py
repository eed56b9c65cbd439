"""Weights of TF.js graph models in an npm package: a `.json` (topology, weight manifest) beside its `.bin`."""

from __future__ import annotations

import json
import math
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synpose.errors import BundleError

__all__ = ["read_weights"]


def read_weights(package: Path, model: str) -> dict[str, NDArray[Any]]:
    """Every weight of `models/{model}.json` in the npm package `package` (its folder or its .tgz), by name.

    Arrays keep the dtype and the layout of the graph: convolutions are (height, width, in, out), depthwise ones
    (height, width, channels, 1). Weights stored as float16 come back as float32, exactly. Raises `BundleError` for
    files that are missing, or that are not such a model.
    """
    try:
        weights: dict[str, NDArray[Any]] = {}
        for group in json.loads(_read(package, f"models/{model}.json"))["weightsManifest"]:
            data = b"".join(_read(package, f"models/{name}") for name in group["paths"])
            offset = 0
            for entry in group["weights"]:
                quantization = entry.get("quantization", {})
                if "scale" in quantization:
                    raise BundleError(f"{model}: {entry['name']} is stored as scaled integers, which is not read here")
                stored = np.dtype(quantization.get("dtype", entry["dtype"]))
                values = np.frombuffer(data, stored, math.prod(entry["shape"]), offset).reshape(entry["shape"])
                weights[entry["name"]] = values.astype(entry["dtype"])
                offset += values.nbytes
            if offset != len(data):
                raise BundleError(f"{model}: its manifest describes {offset} bytes of weights, there are {len(data)}")
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{model} in {package} is not a TF.js graph model that can be read: {error}") from error
    return weights


def _read(package: Path, name: str) -> bytes:
    if package.is_dir():
        return (package / name).read_bytes()
    with tarfile.open(package) as archive:
        file = archive.extractfile(f"package/{name}")  # npm's archives hold one folder of this name
        assert file is not None, name
        return file.read()
