"""Cores: what the scheduler allows and what the control groups leave of it."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from tests.server.fake_engine import FakeEngine

from synpose_model.bundle import Repository
from synpose_server.batcher import Batcher
from synpose_server.bridge import Bridge
from synpose_server.cores import step_back, usable_cores
from synpose_server.lanes import Lanes
from synpose_server.runtime import Graph

V1 = "cpu,cpuacct"


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/", {"cpu.max": "250000 100000"}, 2),
        ("0::/", {"cpu.max": "max 100000"}, 8),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/host/path", {"cpu.max": "400000 100000"}, 4),
        ("0::/", {"cpu.max": "3200000 100000"}, 8),
        ("0::/", {"cpu.max": "rubbish"}, 8),
        ("4:memory:/a\n3:cpu,cpuacct:/a", {f"{V1}/a/cpu.cfs_quota_us": "2\n", f"{V1}/a/cpu.cfs_period_us": "1\n"}, 2),
        ("3:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("", {}, 8),
    ],
    ids=["quota", "no quota", "half", "of the parent", "path of the host", "above", "rubbish", "v1", "v1 none", "none"],
)
def test_the_quota_of_the_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, files: dict[str, str], cores: int
) -> None:
    """Of eight cores as many as the quota allows, whole ones and at least one, whoever set it."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    for name, text in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{n}": t for n, t in files.items()}}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert usable_cores(tmp_path) == cores


def test_without_control_groups_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no such thing, the cores of the process are those it may run on."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 3, 5})
    assert usable_cores(tmp_path) == 3


def niceness() -> int:
    """Of the thread that asks."""
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no niceness of their own")


@linux
def test_what_computes_gives_way_to_what_answers() -> None:
    """Every pool in which something is computed or decoded is nicer than the main thread, which stays as it is."""
    before = niceness()
    bridge = Bridge(FakeEngine())
    pools = {
        "estimates": bridge._threads, "conversions": bridge._converters, "streams": bridge.live._working,
        "images": bridge.live._decoding, "lanes": Lanes(2)._pool, "batches": Batcher("g", lambda x: x, 1)._threads,
    }  # fmt: skip
    assert {name: pool.submit(niceness).result() - before for name, pool in pools.items()} == dict.fromkeys(pools, 5)
    assert niceness() == before
    bridge.close()


@linux
def test_threads_of_a_session_give_way() -> None:
    """ONNX Runtime's own threads, too, and who loads a graph goes on as before."""
    before, known = niceness(), set(os.listdir("/proc/self/task"))
    graph = Graph(Repository()["quick"].graphs["relation"], lanes=Lanes(4))
    started = set(os.listdir("/proc/self/task")) - known
    levels = []
    for task in started:
        with suppress(ProcessLookupError):  # the one that loaded it may just have ended
            levels.append(os.getpriority(os.PRIO_PROCESS, int(task)) - before)
    assert len(levels) >= 3
    assert set(levels) == {5}
    assert niceness() == before
    assert graph.outputs


@linux
def test_stepping_back_twice_is_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads inherit it from those that start them, and step back no further; where it is forbidden nothing fails."""

    def inner() -> int:
        step_back()
        return niceness()

    def outer() -> int:
        step_back()
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(inner).result()

    before = niceness()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(outer).result() == before + 5

    def forbidden(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", forbidden)
    with ThreadPoolExecutor(1, initializer=step_back) as pool:
        assert pool.submit(niceness).result() == before
