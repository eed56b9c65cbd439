"""The tasks that `[run] task = "..."` can name."""

from __future__ import annotations

from synpose.errors import OptionsError
from synpose_model.training import rays, sightings, spatial
from synpose_model.training.task import TaskSpec

__all__ = ["TASKS", "find_task"]

TASKS: dict[str, TaskSpec] = {"rays": rays.SPEC, "sightings": sightings.SPEC, "spatial": spatial.SPEC}


def find_task(name: str) -> TaskSpec:
    """The task `name`; raises `OptionsError` with the names that there are."""
    if name not in TASKS:
        raise OptionsError(f"run.task: no task {name!r}; there are {', '.join(sorted(TASKS))}", field="run.task")
    return TASKS[name]
