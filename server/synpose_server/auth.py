"""API keys: the file that holds their hashes, and the gate that lets their bearers in, and slows them down.

A key is 32 random bytes, which nobody guesses; so a plain SHA-256 keeps it, and a slow password hash would only slow
down every request. The file is read again when it has changed: a key that was removed is refused within a second.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from synpose.errors import NotFound, OptionsError, PermissionDenied, RateLimited, Unauthenticated

__all__ = ["SCOPES", "Gate", "Key", "Keys", "secret_of"]

SCOPES = ("estimate", "stream", "metrics", "admin")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")
_LOOK_SECONDS = 1.0  # between looks at the file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Key:
    """What is known of an API key; raises `OptionsError` for what cannot be."""

    name: str
    sha256: str
    scopes: tuple[str, ...] = ("estimate", "stream")
    requests_per_second: float | None = None
    concurrent_requests: int | None = None

    def __post_init__(self) -> None:
        rate, most = self.requests_per_second, self.concurrent_requests
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise OptionsError("a key's name has up to 64 letters, digits and . _ @ -", field="name")
        if not isinstance(self.sha256, str) or not _HASH.fullmatch(self.sha256):
            raise OptionsError(f"key {self.name!r}: sha256 must be 64 hexadecimal digits", field="sha256")
        if not self.scopes or (unknown := set(self.scopes) - set(SCOPES)):
            raise OptionsError(
                f"key {self.name!r}: scopes are some of {', '.join(SCOPES)}"
                + (f", not {', '.join(sorted(map(str, unknown)))}" if self.scopes else ""),
                field="scopes",
            )
        if rate is not None and not (_is_number(rate) and math.isfinite(rate) and rate > 0):
            raise OptionsError(f"key {self.name!r}: requests_per_second must be above 0", field="requests_per_second")
        if most is not None and not (isinstance(most, int) and not isinstance(most, bool) and most > 0):
            raise OptionsError(f"key {self.name!r}: concurrent_requests must be 1 or more", field="concurrent_requests")


class Keys:
    """The keys in a file of JSON, `{"keys": [{"name": ..., "sha256": ..., "scopes": [...]}]}`."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._by_name: dict[str, Key] = {}
        for key in keys:
            if key.name in self._by_name:
                raise OptionsError(f"two keys are called {key.name!r}", field="name")
            self._by_name[key.name] = key
        self._by_hash = {key.sha256: key for key in self}

    def __iter__(self) -> Iterator[Key]:
        return iter(self._by_name.values())

    @classmethod
    def read(cls, path: Path) -> Keys:
        """The keys in `path`; raises `OptionsError` for a file that cannot be read or holds something else."""
        try:
            document = json.loads(path.read_bytes())
            return cls(_key(record) for record in document["keys"])
        except OSError as error:
            raise OptionsError(f"cannot read the keys in {path}: {error.strerror}", field="keys") from None
        except (ValueError, KeyError, TypeError):
            raise OptionsError(f'{path} holds no keys: it needs {{"keys": [...]}}', field="keys") from None
        except OptionsError as error:
            raise OptionsError(f"{path}: {error.message}", field="keys") from None

    def write(self, path: Path) -> None:
        """Put the keys in `path`, for its owner alone, whole or not at all; raises `OptionsError`."""
        content = json.dumps({"keys": [asdict(key) for key in self]}, indent=1) + "\n"
        try:
            handle, part = tempfile.mkstemp(".part", f".{path.name}.", path.parent)
            try:
                with os.fdopen(handle, "w") as file:
                    file.write(content)
                os.replace(part, path)
            except BaseException:
                os.unlink(part)
                raise
        except OSError as error:
            raise OptionsError(f"cannot write {path}: {error.strerror}", field="keys") from None

    def find(self, secret: str) -> Key | None:
        """The key that `secret` is, if it is one.

        What is compared is the hash, so that how long it takes tells nothing of a key.
        """
        return self._by_hash.get(_hash(secret))

    def with_new(self, name: str, scopes: Iterable[str], rate: float | None, most: int | None) -> tuple[Keys, str]:
        """These keys and a new one, and its secret, which is nowhere kept."""
        secret = f"sp_{secrets.token_urlsafe(32)}"
        return Keys([*self, Key(name, _hash(secret), tuple(scopes), rate, most)]), secret

    def without(self, name: str) -> Keys:
        """These keys but the one called `name`; raises `NotFound`."""
        if name not in self._by_name:
            raise NotFound(f"there is no key {name!r}", field="name")
        return Keys(key for key in self if key.name != name)


class Gate:
    """Who may pass: everybody where there is no file of keys, else the bearers of a key that has the scope.

    Used from one event loop.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._keys = None if path is None else Keys.read(path)
        self._state, self._looked = self._stat(), clock()
        self._use: dict[str, _Use] = {}

    @property
    def open(self) -> bool:
        """Whether no key is asked for."""
        return self._keys is None

    @contextmanager
    def admit(self, secret: str | None, *scopes: str) -> Iterator[str | None]:
        """Lets the bearer of `secret` in for the length of the block, and gives the key's name.

        Raises what `check` does, or `RateLimited`.
        """
        key = self.check(secret, *scopes)
        if key is None:
            yield None
            return
        use = self._use.setdefault(key.name, _Use(self._clock()))
        use.begin(key, self._clock())
        try:
            yield key.name
        finally:
            use.running -= 1

    def check(self, secret: str | None, *scopes: str) -> Key | None:
        """The key that `secret` is now; None where none is asked for. What lasts asks again as it goes on.

        Raises `Unauthenticated`, or `PermissionDenied` without any of `scopes` (none given: any key will do).
        """
        self._refresh()
        if self._keys is None:
            return None
        if not secret:
            raise Unauthenticated("an API key is needed: send it as `authorization: Bearer KEY` or `x-api-key: KEY`")
        key = self._keys.find(secret)
        if key is None:
            raise Unauthenticated("this API key is not known here, or was removed")
        if scopes and not set(scopes) & set(key.scopes):
            lacks = " or ".join(map(repr, scopes))
            raise PermissionDenied(f"the key {key.name!r} may not do this: it lacks the scope {lacks}")
        return key

    def _refresh(self) -> None:
        """Read the file again if it has changed; a file that cannot be read leaves the keys as they were."""
        if self._path is None or self._clock() - self._looked < _LOOK_SECONDS:
            return
        self._looked = self._clock()
        if (state := self._stat()) == self._state:
            return
        self._state = state
        try:
            self._keys = Keys.read(self._path)
        except OptionsError as error:
            log.error("the keys stay as they were: %s", error)

    def _stat(self) -> tuple[int, ...] | None:
        try:
            stat = self._path.stat() if self._path else None
        except OSError:
            return None
        return stat and (stat.st_mtime_ns, stat.st_ino, stat.st_size)


class _Use:
    """What one key has under way, and how many requests it may begin: a bucket that fills up with time."""

    def __init__(self, now: float) -> None:
        self.running = 0
        self._left, self._counted = math.inf, now

    def begin(self, key: Key, now: float) -> None:
        """Count one more request; raises `RateLimited`."""
        if key.concurrent_requests is not None and self.running >= key.concurrent_requests:
            raise RateLimited(f"the key {key.name!r} may have {key.concurrent_requests} requests under way at a time")
        if (rate := key.requests_per_second) is not None:
            self._left = min(max(1.0, rate), self._left + (now - self._counted) * rate)
            self._counted = now
            if self._left < 1:
                raise RateLimited(f"the key {key.name!r} may begin {rate:g} requests a second")
            self._left -= 1
        self.running += 1


def secret_of(headers: Mapping[str, str]) -> str | None:
    """The API key in headers or gRPC metadata, whose names are in lower case."""
    kind, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if kind.lower() == "bearer" else headers.get("x-api-key")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def _key(record: Any) -> Key:
    unknown = set(record) - set(Key.__dataclass_fields__)
    if unknown:
        raise OptionsError(f"a key has no {', '.join(sorted(unknown))}", field="keys")
    return Key(**{**record, "scopes": tuple(record["scopes"])})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
