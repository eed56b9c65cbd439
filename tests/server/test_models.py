"""The models of a folder: loaded, swapped and unloaded while those who use them go on."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import shutil
import threading
import weakref
from pathlib import Path

import httpx
import numpy as np
import pytest
from tests.server.live_server import serve

from synpose.errors import BundleError, InvalidInput, NotFound
from synpose_model.bundle import BUNDLES, Repository
from synpose_server.engine import Engine
from synpose_server.models import Models
from synpose_server.runtime import Model
from synpose_server.settings import Settings

QUICK = Repository()["quick"]


def put(folder: Path, name: str, version: str, nested: bool = True) -> Path:
    """Put the bundle quick into the repository `folder` as `name` in `version`."""
    target = folder / name / version if nested else folder / name
    target.mkdir(parents=True, exist_ok=True)
    shutil.copytree(BUNDLES / "quick", target, dirs_exist_ok=True)
    manifest = json.loads((target / "manifest.json").read_text()) | {"name": name, "version": version}
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository of two bundles: `main`, the default, in version 1, and `other` without a folder for its version."""
    shutil.copytree(BUNDLES / "multipose", tmp_path / "multipose")
    (tmp_path / "repository.json").write_text('{"default": "main"}')
    put(tmp_path, "main", "1")
    put(tmp_path, "other", "7", nested=False)
    return tmp_path


@pytest.fixture
def engine(folder: Path) -> Engine:
    return Engine(Settings(models=folder))


def served(engine: Engine) -> dict[str, str]:
    return {model.name: model.version for model in engine.models}


def test_a_folder_may_hold_versions(folder: Path) -> None:
    """The newest is read, in the order of numbers, and any other by its name; what is not there is told."""
    for version in ("2", "10", "9"):
        put(folder, "main", version)
    repository = Repository(folder)
    assert {name: bundle.version for name, bundle in repository.bundles.items()} == {"main": "10", "other": "7"}
    assert repository.read("main", "9").version == "9"
    for wrong in (("main", "3"), ("main", ".."), ("none",), ("../main",), ("multipose",)):
        with pytest.raises(NotFound):
            repository.read(*wrong)
    with pytest.raises(BundleError, match="calls version '8' '7'"):
        repository.read("other", "8")


@pytest.mark.parametrize("key", ["name", "version"])
def test_a_bundle_lies_under_its_own_name(folder: Path, key: str) -> None:
    """A folder whose manifest says something else is a `BundleError`, not a surprise."""
    path = put(folder, "main", "2") / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: "9"}))
    with pytest.raises(BundleError, match="its manifest calls"):
        Repository(folder)


def test_a_new_version_is_swapped_in(folder: Path, engine: Engine) -> None:
    """Who begins later gets it; who has the old one goes on with it, and it goes, thread and all, with the last."""
    old = engine.model("default")
    assert engine.name_of("default") == engine.name_of("main") == "main"
    crop = np.zeros((1, QUICK.crop_size, QUICK.crop_size, 3), np.uint8)
    put(folder, "main", "2")
    assert engine.served.load("main").bundle.version == "2"
    assert served(engine) == {"main": "2", "other": "7"}
    assert old.bundle.version == "1"
    assert old.read(crop)[0] == pytest.approx(engine.model("main").read(crop)[0])
    gone = weakref.ref(old)
    del old
    gc.collect()
    assert gone() is None
    assert engine.served.load("main", "1").bundle.version == "1"  # and back
    assert served(engine)["main"] == "1"


@pytest.mark.parametrize("fault", ["checksum", "manifest", "graph"])
def test_a_bad_bundle_leaves_the_old_one_serving(folder: Path, engine: Engine, fault: str) -> None:
    """A bundle that is broken in any way is a `BundleError`; what was served before still is."""
    target, old = put(folder, "main", "2"), engine.model("main")
    if fault == "checksum":
        (target / "spatial.onnx").write_bytes((target / "spatial.onnx").read_bytes()[:-1])
    elif fault == "manifest":
        (target / "manifest.json").write_text("{")
    else:
        path = target / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"crop_size": 64}))
    with pytest.raises(BundleError, match="bundle"):
        engine.served.load("main")
    assert engine.model("main") is old
    assert served(engine) == {"main": "1", "other": "7"}


def test_unloading(engine: Engine) -> None:
    """What is unloaded is not found any more and can be loaded again; the default stays."""
    engine.served.unload("other")
    for call in (engine.model, engine.served.unload):
        with pytest.raises(NotFound):
            call("other")
    with pytest.raises(InvalidInput, match="default"):
        engine.served.unload("main")
    engine.served.load("other")
    assert served(engine) == {"main": "1", "other": "7"}


def test_graphs_that_bundles_share_are_loaded_once(engine: Engine) -> None:
    """The same graph of several models is one session with one batcher, named after where it lies."""
    main, other = engine.model("main"), engine.model("other")
    assert main.graphs["detector"] is other.graphs["detector"]
    assert main.graphs["detector"].name == "multipose.detector"


def test_polling_follows_the_folder(folder: Path, engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """New bundles and versions come, those that are gone go; a broken one is told once and taken when it is whole."""
    caplog.set_level(logging.INFO)
    same = engine.model("main")
    engine.served.poll()
    assert engine.model("main") is same
    put(folder, "third", "1")
    put(folder, "main", "2")
    shutil.rmtree(folder / "other")
    engine.served.poll()
    assert served(engine) == {"main": "2", "third": "1"}
    graph = put(folder, "main", "3") / "spatial.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:100])
    engine.served.poll()
    engine.served.poll()
    assert served(engine)["main"] == "2"
    assert caplog.text.count("model main cannot be loaded") == 1
    graph.write_bytes(whole)
    engine.served.poll()
    assert served(engine)["main"] == "3"


def test_polling_leaves_what_was_asked_for(folder: Path, engine: Engine) -> None:
    """A version that was loaded by name and a model that was unloaded stay so until the next load."""
    put(folder, "main", "2")
    engine.served.load("main", "1")
    engine.served.unload("other")
    engine.served.poll()
    assert served(engine) == {"main": "1"}
    engine.served.load("main")
    engine.served.load("other")
    put(folder, "main", "3")
    engine.served.poll()
    assert served(engine) == {"main": "3", "other": "7"}
    engine.served.unload("other")
    shutil.rmtree(folder / "other")
    engine.served.poll()
    put(folder, "other", "8", nested=False)  # it was put there anew
    engine.served.poll()
    assert served(engine) == {"main": "3", "other": "8"}


def test_admin_over_http(folder: Path) -> None:
    """Where the settings allow it, models are loaded, swapped and unloaded by request; faults have their status."""
    with serve(Engine(Settings(models=folder, admin=True))) as url, httpx.Client(base_url=f"{url}/v1/models") as client:
        assert client.post("/other/unload").status_code == 204
        assert [model["name"] for model in httpx.get(f"{url}/v1/models").json()["models"]] == ["main"]
        assert client.post("/other/load").json()["version"] == "7"
        put(folder, "main", "2")
        assert client.post("/main/load").json()["version"] == "2"
        assert client.post("/main/load?version=1").json()["version"] == "1"
        assert client.post("/main/load?version=9").status_code == 404
        for path in ("main/load?verison=1", "other/unload?version=7"):
            assert client.post(path).json()["field"] == "query"
        assert httpx.get(f"{url}/v1/models?name=main").json()["field"] == "query"
        assert httpx.get(f"{url}/v1/skeletons?name=coco17").json()["field"] == "query"
        refused = client.post("/main/load", json={"version": "2"})
        assert (refused.status_code, "?version=" in refused.json()["detail"]) == (422, True)
        assert client.post("/none/unload").status_code == 404
        assert client.post("/main/unload").status_code == 422
        (folder / "main" / "2" / "relation.onnx").write_bytes(b"")
        answer = client.post("/main/load")
        assert (answer.status_code, answer.json()["type"]) == (500, "urn:synpose:problem:bundle-error")
        assert {m["name"]: m["version"] for m in httpx.get(f"{url}/v1/models").json()["models"]} == {
            "main": "1",
            "other": "7",
        }
    with serve(Engine(Settings(models=folder / ".." / folder.name), only="other")) as url:
        assert httpx.post(f"{url}/v1/models/other/load").status_code == 404


def test_the_folder_is_watched(folder: Path, engine: Engine) -> None:
    """A watcher takes over what is put there, without being asked."""

    async def watch() -> None:
        watcher = asyncio.create_task(engine.served.watch(0.01))
        put(folder, "main", "2")
        while served(engine)["main"] != "2":
            await asyncio.sleep(0.01)
        watcher.cancel()

    asyncio.run(asyncio.wait_for(watch(), 30))


def test_a_folder_that_was_away_is_watched_again(
    folder: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that fails for a moment does not end the watch, and the log tells of it."""
    names, repository = engine.served.repository.names, engine.served.repository
    failures = iter([OSError(116, "Stale file handle")])

    def fail_once() -> tuple[str, ...]:
        for error in failures:
            raise error
        return names()

    async def scenario() -> None:
        watching = asyncio.create_task(engine.served.watch(0.02))
        put(folder, "main", "2")
        async with asyncio.timeout(10):
            while served(engine)["main"] != "2":
                assert not watching.done()
                await asyncio.sleep(0.02)
        watching.cancel()

    monkeypatch.setattr(repository, "names", fail_once)
    asyncio.run(scenario())
    assert "it is tried again" in caplog.text


def test_a_swap_while_calls_run(folder: Path) -> None:
    """Models that are loaded again and again under load: every call is answered."""
    models = Models(Repository(folder), lambda bundle: Model(bundle))
    crop = np.full((1, QUICK.crop_size, QUICK.crop_size, 3), 99, np.uint8)
    expected = models["main"].read(crop)[0]
    stop, answers = threading.Event(), 0

    def call() -> None:
        nonlocal answers
        while not stop.is_set():
            assert models["main"].read(crop)[0] == pytest.approx(expected, abs=1e-3)
            answers += 1

    thread = threading.Thread(target=call)
    thread.start()
    for _ in range(5):
        models.load("main")
    before = answers
    while thread.is_alive() and answers <= before:
        stop.wait(0.01)
    stop.set()
    thread.join(10)
    assert answers > before
