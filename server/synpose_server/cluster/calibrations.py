"""Uploaded calibrations that every replica knows."""

from __future__ import annotations

from typing import Any

import ray

from synpose.errors import NotFound
from synpose.rig import Rig
from synpose_server.live.calibrations import Calibrations

__all__ = ["STORE", "SharedCalibrations"]

STORE = "synpose-calibrations"
"""Name of the actor that keeps them, in Serve's namespace."""


class _Store(Calibrations):
    """The actor's class."""

    def find(self, digest: str) -> Rig | None:
        """The rig with this hash, if it is known."""
        try:
            return self[digest]
        except NotFound:
            return None


class SharedCalibrations(Calibrations):
    """What one replica knows, and what it can ask for. Its methods block."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        actor = ray.remote(num_cpus=0)(_Store)
        self._store: Any = actor.options(
            name=STORE, namespace="serve", get_if_exists=True, lifetime="detached", max_restarts=-1, max_task_retries=1
        ).remote(most)

    def put(self, rig: Rig) -> str:
        """As `Calibrations.put`, for all replicas."""
        ray.get(self._store.put.remote(rig))
        return super().put(rig)

    def __getitem__(self, digest: str) -> Rig:
        """As `Calibrations.__getitem__`; one that another replica was sent is asked for once."""
        try:
            return super().__getitem__(digest)
        except NotFound:
            rig: Rig | None = ray.get(self._store.find.remote(digest))
            if rig is None:
                raise
            super().put(rig)
            return rig
