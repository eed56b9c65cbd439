"""How many cores this process may use: those it may be scheduled on, cut by the quota of its control groups."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

__all__ = ["usable_cores"]


def usable_cores(root: Path = Path("/")) -> int:
    """At least 1. A quota counts in whole cores, rounded down: a thread more would only be stopped in mid-run.

    `root` is where `proc` and `sys` are looked for.
    """
    # only Linux tells which cores a process may run on
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.floor(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """The quotas in cores of the groups that this process is in, and of those around them (cgroup v2 and v1)."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        group = PurePosixPath(path.lstrip("/"))
        # a container may be told its path on the host, which it does not see: then its own is at the top
        for part in (group, *group.parents):
            with suppress(OSError, ValueError, ZeroDivisionError):
                if not controllers:
                    quota, period = (root / "sys/fs/cgroup" / part / "cpu.max").read_text().split()
                    if quota != "max":
                        yield int(quota) / int(period)
                elif "cpu" in controllers.split(","):
                    folder = root / "sys/fs/cgroup" / controllers / part
                    quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
                    if int(quota) > 0:
                        yield int(quota) / int(period)
