"""End to end: a real server process with the real engine, asked over its real ports."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.doors import Server

_COMMAND = "import sys; from synpose.cli import main; sys.exit(main(sys.argv[1:]))"
_LIMITS = {
    "SYNPOSE_MAX_BODY_BYTES": str(6 << 20),
    "SYNPOSE_MAX_FRAMES": "24",
    "SYNPOSE_MAX_CLIPS": "1",  # a place that is not given back shows in the next request
    "SYNPOSE_QUEUE_SECONDS": "2",
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "e2e: a real server process with the real engine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`synpose serve` as a process, with limits small enough to be met; it must end when it is told to."""
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-c", _COMMAND, "serve", "--http-port", "0", "--grpc-port", "0"]
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **_LIMITS}
        ) as process,
    ):
        try:
            assert process.stdout is not None
            http, rpc = (process.stdout.readline().split()[-1] for _ in range(2))
            yield Server(http, rpc, process.pid, log)
            process.terminate()
            assert process.wait(10) == 0
        finally:
            process.kill()
