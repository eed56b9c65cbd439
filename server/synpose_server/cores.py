"""The cores of this process: how many it may use, and which of its threads go first.

How many are those it may be scheduled on, cut by the quota of its control groups.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

__all__ = ["step_back", "usable_cores"]

_NICER = 5


def usable_cores(root: Path = Path("/")) -> int:
    """At least 1. A quota counts in whole cores, rounded down: a thread more would only be stopped in mid-run.

    `root` is where `proc` and `sys` are looked for.
    """
    # only Linux tells which cores a process may run on
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.floor(quota) for quota in _quotas(root))]))


def step_back() -> None:
    """Let this thread, and those that it starts, give way to the threads that answer: for those that compute.

    With `benchmarks/overload.py` on two cores, in alternation, refusals reach the caller after 4.5 to 5.4 ms in the
    median and 10 to 12 at the 90th percentile instead of 6.7 to 7.2 and 13 to 14, readiness is told after 10 to 13 ms
    at the 99th instead of 13 to 18, and goodput and `benchmarks/cameras.py` say no less. Twice as nice gains little.
    """
    if sys.platform == "linux":  # elsewhere only processes have a niceness
        nice = os.getpriority(os.PRIO_PROCESS, os.getpid())  # that of the main thread
        with suppress(OSError):  # where it may not, it goes on as it is
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, nice + _NICER))


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
