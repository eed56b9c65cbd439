"""Bundles: those that are shipped are what they claim, and a broken one is told by its name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from synpose.errors import BundleError, NotFound
from synpose.skeleton import BODY27, COCO17
from synpose_model.bundle import BUNDLES, Bundle, Repository, write_manifest

Manifest = dict[str, Any]

FIELDS: Manifest = {
    "version": "1",
    "description": "empty files",
    "licence": "Apache-2.0",
    "provenance": {},
    "skeleton": "coco17",
    "crop_size": 128,
    "window": 3,
    "metrics": {},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle called `small` with two graphs of its own and a detector in the folder `shared`, in a repository."""
    for name in ("small/spatial.onnx", "small/relation.onnx", "shared/detector.onnx"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    (tmp_path / "repository.json").write_text('{"default": "small"}')
    small = tmp_path / "small"
    graphs = {"spatial": small / "spatial.onnx", "relation": small / "relation.onnx"}
    write_manifest(small, graphs={**graphs, "detector": tmp_path / "shared" / "detector.onnx"}, **FIELDS)
    return small


def rewrite(folder: Path, change: Callable[[Manifest], object]) -> None:
    """Let `change` alter the manifest of the bundle in `folder`."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


# -- what is shipped -----------------------------------------------------------------------------------------------


def test_shipped_bundles_are_whole() -> None:
    """Every graph of every bundle in the package has the checksum of its manifest."""
    repository = Repository()
    assert set(repository.bundles) == {"accurate", "default", "fast", "quick"}
    assert repository["default"].name == "default"
    for name, bundle in repository.bundles.items():
        assert bundle.skeleton is (BODY27 if name in ("default", "fast") else COCO17)
        bundle.verify()


def test_shipped_bundles_stay_small() -> None:
    """All bundles together are below 55 MB, and no graph lies there that no manifest names."""
    files = {path for path in BUNDLES.rglob("*") if path.is_file()}
    assert sum(path.stat().st_size for path in files) < 55e6
    named = {path for bundle in Repository().bundles.values() for path in bundle.graphs.values()}
    assert {path for path in files if path.suffix == ".onnx"} == named


def contract(bundle: Bundle) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Inputs and outputs of each graph by name: type and shape, None where a dimension is free."""
    K = J = len(bundle.skeleton)
    S, free = bundle.crop_size, None
    told, learned = {}, {}
    if bundle.name in ("default", "fast"):
        told = {"expected": ("tensor(float)", [free, J, 2])}
        learned = {"tokens": ("tensor(float)", [free, 64]), "alternatives": ("tensor(float)", [free, K, 3])}
    return {
        "spatial": (
            {"images": ("tensor(uint8)", [free, S, S, 3])} | told,
            {"keypoints": ("tensor(float)", [free, K, 3])} | learned,
        ),
        "relation": (
            {
                "origins": ("tensor(float)", [free, free, free, 3]),
                "directions": ("tensor(float)", [free, free, free, K, 3]),
                "scores": ("tensor(float)", [free, free, free, K]),
                "view_mask": ("tensor(bool)", [free, free, free]),
            },
            {
                "joints": ("tensor(float)", [free, free, J, 3]),
                "sigma": ("tensor(float)", [free, free, J]),
                "view_weights": ("tensor(float)", [free, free, free, J]),
            },
        ),
        "detector": (
            {"images": ("tensor(uint8)", [free, free, free, 3])},
            {"people": ("tensor(float)", [free, 6, 17, 3]), "boxes": ("tensor(float)", [free, 6, 5])},
        ),
    }


@pytest.mark.parametrize("kind", ["spatial", "relation", "detector"])
@pytest.mark.parametrize("name", sorted(Repository().bundles))
def test_graphs_keep_the_contract(name: str, kind: str) -> None:
    """Names, types and free dimensions of a graph are those that docs/architecture.md promises."""

    def told(values: list[Any]) -> dict[str, Any]:
        return {v.name: (v.type, [side if isinstance(side, int) else None for side in v.shape]) for v in values}

    bundle = Repository()[name]
    session = ort.InferenceSession(str(bundle.graphs[kind]), providers=["CPUExecutionProvider"])
    assert (told(session.get_inputs()), told(session.get_outputs())) == contract(bundle)[kind]


# -- reading and writing -------------------------------------------------------------------------------------------


def test_a_written_bundle_is_read_back(folder: Path) -> None:
    """What `write_manifest` was given is what `read` answers; a graph of a sibling folder is shared."""
    bundle = Bundle.read(folder)
    assert (bundle.name, bundle.version, bundle.crop_size, bundle.window) == ("small", "1", 128, 3)
    assert bundle.graphs["detector"] == folder.parent / "shared" / "detector.onnx"
    assert bundle.graphs["spatial"] == folder / "spatial.onnx"
    bundle.verify()


def test_a_detector_is_not_needed(folder: Path) -> None:
    """A bundle without a detector is a bundle."""
    rewrite(folder, lambda manifest: manifest["graphs"].pop("detector"))
    assert set(Bundle.read(folder).graphs) == {"spatial", "relation"}


@pytest.mark.parametrize("kind", ["spatial", "relation", "detector"])
def test_another_file_is_told(folder: Path, kind: str) -> None:
    """A graph whose bytes changed after the manifest was written fails `verify`, shared or not."""
    bundle = Bundle.read(folder)
    bundle.graphs[kind].write_bytes(b"something else")
    with pytest.raises(BundleError, match=f"'small'.*{kind}.onnx is not the file") as caught:
        bundle.verify()
    assert caught.value.field == "model"


BROKEN: dict[str, tuple[Callable[[Manifest], object], str]] = {
    "unknown key": (lambda m: m.update(colour="red"), "missing keys: colour"),
    "missing key": (lambda m: m.pop("licence"), "missing keys: licence"),
    "unknown skeleton": (lambda m: m.update(skeleton="coco18"), "'coco18' is unknown"),
    "skeleton is a list": (lambda m: m.update(skeleton=["coco17"]), "cannot be read"),
    "crop size is text": (lambda m: m.update(crop_size="big"), "cannot be read"),
    "look-ahead as long as the window": (lambda m: m.update(look_ahead=3), "its window of 3 cannot hold"),
    "look-ahead into the past": (lambda m: m.update(look_ahead=-1), "cannot hold a frame set and -1 after it"),
    "no views": (lambda m: m.update(min_views=0), "its min_views is 0, not 1 or 2"),
    "many views": (lambda m: m.update(min_views=3), "its min_views is 3"),
    "window is null": (lambda m: m.update(window=None), "cannot be read"),
    "graphs are a list": (lambda m: m.update(graphs=["spatial.onnx"]), "cannot be read"),
    "graph is text": (lambda m: m["graphs"].update(spatial="spatial.onnx"), "cannot be read"),
    "graph without a file": (lambda m: m["graphs"]["spatial"].pop("file"), "cannot be read"),
    "graph without a checksum": (lambda m: m["graphs"]["spatial"].pop("sha256"), "cannot be read"),
    "file is a number": (lambda m: m["graphs"]["spatial"].update(file=7), "cannot be read"),
    "unknown graph": (lambda m: m["graphs"].update(extra=m["graphs"]["spatial"]), "unusable graph 'extra'"),
    "no spatial graph": (lambda m: m["graphs"].pop("spatial"), "no spatial graph"),
    "no relation graph": (lambda m: m["graphs"].pop("relation"), "no relation graph"),
    "no graph at all": (lambda m: m["graphs"].clear(), "no spatial and no relation"),
    "absent file": (lambda m: m["graphs"]["spatial"].update(file="other.onnx"), "other.onnx is missing"),
    "absent sibling": (lambda m: m["graphs"]["detector"].update(bundle="nowhere"), "detector.onnx is missing"),
    "file is a folder": (lambda m: m["graphs"]["detector"].update(bundle="small", file="sub"), "sub is missing"),
}


def test_a_graph_that_went_is_told(folder: Path) -> None:
    """Between reading the manifest and the graphs their folder may be replaced."""
    bundle = Bundle.read(folder)
    bundle.graphs["spatial"].unlink()
    with pytest.raises(BundleError, match=r"'small': spatial.onnx cannot be read"):
        bundle.verify()


def test_what_a_manifest_may_leave_out(folder: Path) -> None:
    """A bundle looks nowhere ahead and needs two views, unless its manifest says otherwise."""
    bundle = Bundle.read(folder)
    assert (bundle.look_ahead, bundle.min_views) == (0, 2)
    rewrite(folder, lambda m: m.update(look_ahead=2, min_views=1))
    bundle = Bundle.read(folder)
    assert (bundle.look_ahead, bundle.min_views) == (2, 1)


@pytest.mark.parametrize(("change", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_manifest_is_told(folder: Path, change: Callable[[Manifest], object], reason: str) -> None:
    """Whatever is wrong with a manifest is a `BundleError` that names the bundle and the reason."""
    (folder / "sub").mkdir()
    rewrite(folder, change)
    with pytest.raises(BundleError, match=f"bundle 'small': .*{reason}") as caught:
        Bundle.read(folder)
    assert caught.value.field == "model"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\xff", b"[]", b"null", b"7", b'"text"'])
def test_a_manifest_that_is_none_is_told(folder: Path, content: bytes) -> None:
    """Bytes that are no JSON object are a `BundleError` that names the bundle, not an exception of the parser."""
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match="bundle 'small': its manifest"):
        Bundle.read(folder)


def test_a_folder_without_a_manifest_is_told(folder: Path) -> None:
    """A folder that is no bundle is a `BundleError` that names it."""
    with pytest.raises(BundleError, match="bundle 'shared': its manifest cannot be read"):
        Bundle.read(folder.parent / "shared")


@pytest.mark.parametrize("key", ["file", "bundle"])
@pytest.mark.parametrize("trick", ["..", "../outside.onnx", "/etc/passwd", "a/b", "a\\b", "", ".", ".hidden", "x\0"])
def test_a_manifest_cannot_leave_its_repository(folder: Path, key: str, trick: str) -> None:
    """A graph lies in its bundle or a sibling: no path, whole or relative, is followed, even to a file that exists."""
    (folder.parent / "outside.onnx").write_bytes(b"")
    (folder.parent.parent / "outside.onnx").write_bytes(b"")
    rewrite(folder, lambda manifest: manifest["graphs"]["detector"].update({key: trick}))
    with pytest.raises(BundleError, match="bundle 'small': its manifest names an unusable graph 'detector'"):
        Bundle.read(folder)


# -- repositories --------------------------------------------------------------------------------------------------


def test_a_repository_answers_by_name(folder: Path) -> None:
    """Bundles are found by name and by `default`; an unknown name lists those that are there."""
    repository = Repository(folder.parent)
    assert repository["small"] is repository["default"]
    with pytest.raises(NotFound, match="no model 'large'; there are default, small") as caught:
        repository["large"]
    assert caught.value.field == "options.model"
    with pytest.raises(NotFound) as caught:
        repository["x" * 10_000]
    assert len(caught.value.message) < 200


def test_a_default_that_is_not_there_is_told(folder: Path) -> None:
    """A repository whose default is no bundle of it does not load."""
    (folder.parent / "repository.json").write_text('{"default": "large"}')
    with pytest.raises(BundleError, match="the default bundle 'large' is not there"):
        Repository(folder.parent)


@pytest.mark.parametrize("content", [None, b"", b"[]", b"null", b"{}", b"\xff"])
def test_a_repository_without_a_default_is_told(folder: Path, content: bytes | None) -> None:
    """A folder without a readable `repository.json` that names a default is a `BundleError` that names the folder."""
    listing = folder.parent / "repository.json"
    listing.unlink() if content is None else listing.write_bytes(content)
    with pytest.raises(BundleError, match=f"{folder.parent} is no folder of bundles"):
        Repository(folder.parent)


def test_one_broken_bundle_breaks_the_repository(folder: Path) -> None:
    """A repository with a broken bundle does not load without it: the error names it."""
    shutil.copytree(folder, folder.parent / "second")
    (folder.parent / "second" / "manifest.json").write_text("{}")
    with pytest.raises(BundleError, match="bundle 'second'"):
        Repository(folder.parent)


def test_bundles_load_without_torch() -> None:
    """Reading and verifying the bundles of the package imports no torch."""
    code = (
        "import sys; from synpose_model.bundle import Repository; Repository()['default'].verify();"
        "print('synpose_model.bundle' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["True", "False"]
