"""Cores: what the scheduler allows and what the control groups leave of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from synpose_server.cores import usable_cores

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
