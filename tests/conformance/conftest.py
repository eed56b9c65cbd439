"""The same tests against every way of serving: one process, and two replicas over Ray where Ray is installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.doors import Server

_COMMAND = "import sys; from synpose.cli import main; sys.exit(main(sys.argv[1:]))"
_ONE = ("--host", "127.0.0.1")
_TWO = ("--host", "0.0.0.0", "--ray", "--replicas", "2")
_THREADS = {"SYNPOSE_THREADS": "1"}  # so that two replicas fit on two cores

WAYS = ["single", pytest.param("ray", marks=pytest.mark.ray)]


@pytest.fixture(scope="session", params=WAYS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`synpose serve` as a process that must end when it is told to."""
    over_ray = request.param == "ray"
    if over_ray and importlib.util.find_spec("ray") is None:
        pytest.skip("NOT TESTED OVER RAY: it is not installed; pip install 'synpose[ray]'")
    log = tmp_path_factory.mktemp(request.param) / "log.txt"
    ports = ("--http-port", "0", "--grpc-port", "0")
    command = [sys.executable, "-c", _COMMAND, "serve", *ports, *(_TWO if over_ray else _ONE)]
    path = os.pathsep.join(sys.path)  # replicas are processes of Ray's own
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **_THREADS, "PYTHONPATH": path},
        ) as process,
    ):
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(2)]
            assert all(lines), Path(log).read_text()
            http, rpc = (line.split()[-1].replace("0.0.0.0", "127.0.0.1") for line in lines)
            yield Server(http, rpc, process.pid, log)
            process.terminate()
            assert process.wait(60) == 0
        finally:
            process.kill()
