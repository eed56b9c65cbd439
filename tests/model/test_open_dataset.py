"""Datasets by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from synpose.errors import InvalidInput, NotFound
from synpose_model.datasets import DATASETS, Human36M, MpiInf3dhp, Panoptic, open_dataset


def test_kinds(tmp_path: Path) -> None:
    """Each name opens its loader, from a path or text."""
    assert isinstance(open_dataset("human36m", tmp_path), Human36M)
    assert isinstance(open_dataset("mpi-inf-3dhp", str(tmp_path)), MpiInf3dhp)
    assert isinstance(open_dataset("panoptic", tmp_path), Panoptic)


def test_unknown_kind(tmp_path: Path) -> None:
    """An unknown name is told with those that there are."""
    with pytest.raises(NotFound, match="human36m, mpi-inf-3dhp, panoptic") as error:
        open_dataset("coco", tmp_path)
    assert error.value.field == "dataset"


@pytest.mark.parametrize("kind", DATASETS)
def test_missing_folder(tmp_path: Path, kind: str) -> None:
    """A folder that is not there is an error at once."""
    with pytest.raises(InvalidInput, match="there is no folder") as error:
        open_dataset(kind, tmp_path / "nowhere")
    assert error.value.field == "folder"


def test_loads_no_reader_and_no_torch() -> None:
    """Importing the loaders costs neither torch nor the packages that read their formats."""
    code = "import sys, synpose_model.datasets; print({'torch', 'scipy', 'h5py', 'cdflib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"
