"""Calibrations that were uploaded once, to be named by their hash."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

from synpose.calibration import write_calibration
from synpose.errors import NotFound
from synpose.rig import Rig

__all__ = ["Calibrations", "hash_of"]


def hash_of(rig: Rig) -> str:
    """SHA-256 of the rig as Synpose writes it: one rig has one hash, whichever file it came from."""
    return hashlib.sha256(write_calibration(rig).encode()).hexdigest()


class Calibrations:
    """The last `most` rigs that were put in or asked for, in memory. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rigs: OrderedDict[str, Rig] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, rig: Rig) -> str:
        """The hash under which the rig can be had."""
        digest = hash_of(rig)
        with self._lock:
            self._rigs[digest] = rig
            self._rigs.move_to_end(digest)
            while len(self._rigs) > self._most:
                self._rigs.popitem(last=False)
        return digest

    def __getitem__(self, digest: str) -> Rig:
        """The rig with this hash; raises `NotFound`."""
        with self._lock:
            if digest in self._rigs:
                self._rigs.move_to_end(digest)
                return self._rigs[digest]
        raise NotFound("no calibration has this hash; upload it to /v1/calibrations", field="calibration_hash")
