"""Messages and files made wrong, as `benchmarks/fuzz.py` sends them, against a server of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"


def test_broken_messages_fail_nobody() -> None:
    """No failure, no crash, and good requests between the broken ones are answered as ever."""
    command = [sys.executable, str(FUZZ), "--count", "300", "--seed", "7"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout + run.stderr
    for answered in ("http: HTTP 422", "rpc: gRPC INVALID_ARGUMENT", "live: ", "media: "):
        assert answered in run.stdout
