"""The models that are served: loaded, swapped and unloaded while those who use them go on."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Mapping

from synpose.errors import InvalidInput, NotFound, SynposeError
from synpose_model.bundle import Bundle, Repository, unknown_model
from synpose_server.runtime import Model

__all__ = ["Models"]

log = logging.getLogger(__name__)


class Models(Mapping[str, Model]):
    """Models by name, each in one version, from a repository of bundles. Thread-safe.

    A model is found once by whoever begins an estimate or a session, and kept until its end: what is loaded meanwhile
    serves those who come later, and an old model goes with the last who uses it.
    """

    def __init__(self, repository: Repository, make: Callable[[Bundle], Model], only: str | None = None) -> None:
        self.repository = repository
        self._make = make
        bundles = repository.bundles.values() if only is None else (repository[only],)
        self._models = {bundle.name: make(bundle) for bundle in bundles}
        self._troubles: dict[str, str] = {}  # of bundles that cannot be loaded, as they were logged
        self._pinned: dict[str, str] = {}  # versions that were asked for, and what was unloaded: `poll` leaves them so
        self._unloaded: set[str] = set()
        self._loading = threading.Lock()  # one after another: each takes memory

    def __getitem__(self, name: str) -> Model:
        """The model called `name`, or `default`; raises `NotFound`, which lists the names."""
        model = self._models.get(self.repository.default if name == "default" else name)
        if model is None:
            raise unknown_model(name, self._models)
        return model

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def load(self, name: str, version: str | None = None) -> Model:
        """Read, verify, load and warm up the newest version of `name`, or `version`, then serve it.

        A `version` stays until the next `load` or `unload`, whatever comes to the folder. Raises `NotFound` or
        `BundleError`; then what was served before still is. Blocks while it loads.
        """
        with self._loading:
            model = self._take(self.repository.read(name, version))
            self._unloaded.discard(name)
            self._pinned.pop(name, None)
            if version is not None:
                self._pinned[name] = version
        return model

    def unload(self, name: str) -> None:
        """Serve `name` no more, until it is loaded by name.

        Raises `NotFound`, and `InvalidInput` for the default, which must be there.
        """
        with self._loading:
            if name not in self._models:
                raise NotFound(f"model {name!r} is not loaded", field="model")
            if name == self.repository.default:
                raise InvalidInput(f"{name!r} is the default model and cannot be unloaded", field="model")
            self._drop(name)
            self._unloaded.add(name)
            self._pinned.pop(name, None)

    def poll(self) -> None:
        """Take over what has changed in the folder: new and changed bundles are loaded, those that went are unloaded.

        A bundle that cannot be loaded, or not yet, because it is still being copied, is tried again the next time.
        What was loaded in one version, or unloaded, stays as it was asked for while its folder is there.
        """
        there = self.repository.names()
        for name in there:
            with self._loading:
                if name in self._unloaded:
                    continue
                try:
                    bundle = self.repository.read(name, self._pinned.get(name))
                    served = self._models.get(name)
                    if served is None or not _same(served.bundle, bundle):
                        self._take(bundle)
                    self._troubles.pop(name, None)
                except SynposeError as error:
                    if self._troubles.get(name) != str(error):
                        log.warning("model %s cannot be loaded; what was served still is: %s", name, error)
                    self._troubles[name] = str(error)
        with self._loading:
            self._unloaded &= set(there)
            for name in set(self._models) - set(there) - {self.repository.default}:
                self._drop(name)
                self._pinned.pop(name, None)

    def _take(self, bundle: Bundle) -> Model:
        model = self._make(bundle)
        self._models = {**self._models, bundle.name: model}
        log.info("model %s %s is served", bundle.name, bundle.version)
        return model

    def _drop(self, name: str) -> None:
        self._models = {key: model for key, model in self._models.items() if key != name}
        log.info("model %s is served no more", name)

    async def watch(self, seconds: float) -> None:
        """`poll` every so many seconds, until cancelled; where that fails, as with a disk that is away, it is told."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await asyncio.to_thread(self.poll)
            except Exception:
                log.exception("the folder of models could not be looked at; it is tried again")


def _same(one: Bundle, other: Bundle) -> bool:
    return one.version == other.version and dict(one.checksums) == dict(other.checksums)
