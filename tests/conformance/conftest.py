"""The same tests against every way of serving: one process, and two replicas over Ray where Ray is installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.doors import Server

_COMMAND = "import sys; from synpose.cli import main; sys.exit(main(sys.argv[1:]))"
_ONE = ("--host", "127.0.0.1")
_TWO = ("--host", "0.0.0.0", "--ray", "--replicas", "2")
_THREADS = {"SYNPOSE_THREADS": "1"}  # so that two replicas fit on two cores
_MOST_SECONDS = 600.0

WAYS = ["single", pytest.param("ray", marks=pytest.mark.ray)]


@pytest.fixture(scope="module", params=WAYS)  # an idle Ray beside all other tests would cost them time
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`synpose serve` as a process that must end when it is told to."""
    over_ray = request.param == "ray"
    if over_ray and importlib.util.find_spec("ray") is None:
        pytest.skip("NOT TESTED OVER RAY: it is not installed; pip install 'synpose[ray]'")
    log = tmp_path_factory.mktemp(request.param) / "log.txt"
    ports = ("--http-port", "0", "--grpc-port", "0")
    command = [sys.executable, "-c", _COMMAND, "serve", *ports, *(_TWO if over_ray else _ONE)]
    process, lines = _started(command, log)
    if over_ray and not all(lines):  # Ray gives itself 30 s to start, however busy the machine is
        process.wait(60)
        process, lines = _started(command, log)
    late = threading.Timer(_MOST_SECONDS, process.kill)  # whoever waits for it then gets an error
    late.start()
    with process:
        try:
            assert all(lines), log.read_text()
            http, rpc = (line.split()[-1].replace("0.0.0.0", "127.0.0.1") for line in lines)
            yield Server(http, rpc, process.pid, log)
            process.terminate()
            assert process.wait(60) == 0
        finally:
            late.cancel()
            process.kill()


def _started(command: list[str], log: Path) -> tuple[subprocess.Popen[str], list[str]]:
    """A server and what it says of its addresses, which is nothing if it could not start."""
    environment = {**os.environ, **_THREADS, "PYTHONPATH": os.pathsep.join(sys.path)}  # replicas are Ray's processes
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
    assert process.stdout is not None
    return process, [process.stdout.readline() for _ in range(2)]
