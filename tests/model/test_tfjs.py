"""Reading TF.js weights."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synpose.errors import BundleError
from synpose_model.tfjs import read_weights

KERNEL = np.array([[0.5, -1.25], [3.0, 65504.0]], np.float16)
SHAPE = np.array([1, -1, 17], np.int32)


def entries() -> list[dict[str, Any]]:
    return [
        {"name": "kernel", "shape": [2, 2], "dtype": "float32", "quantization": {"dtype": "float16"}},
        {"name": "shape", "shape": [3], "dtype": "int32"},
        {"name": "scalar", "shape": [], "dtype": "float32"},
    ]


def write_package(folder: Path, weights: list[dict[str, Any]], data: bytes) -> Path:
    package = folder / "package"
    (package / "models").mkdir(parents=True)
    (package / "models" / "toy.json").write_text(
        json.dumps({"weightsManifest": [{"paths": ["toy.1", "toy.2"], "weights": weights}]})
    )
    (package / "models" / "toy.1").write_bytes(data[:5])  # a group's data may be cut anywhere
    (package / "models" / "toy.2").write_bytes(data[5:])
    return package


DATA = KERNEL.tobytes() + SHAPE.tobytes() + np.float32(1.8).tobytes()


@pytest.mark.parametrize("packed", [False, True])
def test_weights_come_back_with_their_names_shapes_and_dtypes(tmp_path: Path, packed: bool) -> None:
    """A package is read the same from its folder and from its archive; float16 storage widens to float32."""
    package = write_package(tmp_path, entries(), DATA)
    if packed:
        archive = tmp_path / "toy.tgz"
        with tarfile.open(archive, "w:gz") as file:
            file.add(package, "package")
        package = archive
    weights = read_weights(package, "toy")
    assert {name: w.dtype for name, w in weights.items()} == {"kernel": "f4", "shape": "i4", "scalar": "f4"}
    assert np.array_equal(weights["kernel"], KERNEL.astype(np.float32))
    assert np.array_equal(weights["shape"], SHAPE)
    assert weights["scalar"] == np.float32(1.8)


def test_data_that_does_not_fit_the_manifest_is_refused(tmp_path: Path) -> None:
    """A byte too many or too few is an error, not a shifted network."""
    with pytest.raises(BundleError, match="24 bytes"):
        read_weights(write_package(tmp_path / "long", entries(), DATA + b"\0"), "toy")
    with pytest.raises(BundleError, match="not a TF"):
        read_weights(write_package(tmp_path / "short", entries(), DATA[:-1]), "toy")


def test_scaled_integers_are_refused(tmp_path: Path) -> None:
    """Affine quantization is not taken for raw integers."""
    weights = [
        {"name": "w", "shape": [4], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.1, "min": 0}}
    ]
    with pytest.raises(BundleError, match="scaled integers"):
        read_weights(write_package(tmp_path, weights, b"\0\1\2\3\4\5"), "toy")


def test_a_missing_model_is_a_bundle_error(tmp_path: Path) -> None:
    """A package without the model, and no package at all, are named in one error."""
    package = write_package(tmp_path, entries(), DATA)
    with pytest.raises(BundleError, match="other"):
        read_weights(package, "other")
    with pytest.raises(BundleError, match=r"none\.tgz"):
        read_weights(tmp_path / "none.tgz", "toy")
