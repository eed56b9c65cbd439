"""A server of one's own, as `synpose serve` starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from synpose.errors import ServerError

__all__ = ["Loopback", "loopback"]

_STOP_SECONDS = 15


@dataclass(frozen=True)
class Loopback:
    """Its two addresses and its process."""

    http: str
    grpc: str
    process: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        return self.process.pid


@contextmanager
def loopback(
    settings: Mapping[str, str] | None = None, http_port: int = 0, grpc_port: int = 0, log: int | None = None
) -> Iterator[Loopback]:
    """A server on these ports (0: free ones), ended with the block; raises `ServerError` if it does not start.

    `settings` are environment variables beside those that are set; its log goes to `log`, a file's descriptor.
    """
    ports = ["--http-port", str(http_port), "--grpc-port", str(grpc_port)]
    command = [sys.executable, "-m", "synpose.cli", "serve", *ports]
    environment = {**os.environ, **(settings or {})}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            addresses = [line.split()[-1] for line in (process.stdout.readline(), process.stdout.readline()) if line]
            if len(addresses) < 2:
                raise ServerError("the server did not start; `synpose serve` tells why")
            yield Loopback(addresses[0], f"grpc://{addresses[1]}", process)
            process.terminate()
            process.wait(_STOP_SECONDS)
        finally:
            process.kill()
