"""Time from the start of `synpose serve` to its first 200 of /readyz, whether torch got in, and the install's size.

    python benchmarks/start_up.py
    python benchmarks/start_up.py --install     # also the size of a fresh venv with .[server,cpu]: minutes, network

The wall clock is measured in this run's own conditions; a busy machine only makes it longer.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("client", "model", "server"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="starts (5)")
    parser.add_argument("--install", action="store_true", help="also measure a fresh installation")
    args = parser.parse_args()
    seconds, resident = zip(*(start() for _ in range(args.repeats)), strict=True)
    print(f"synpose serve to the first 200 of /readyz, {args.repeats} starts")
    print(f"  seconds       median {statistics.median(seconds):.2f}  ({min(seconds):.2f} to {max(seconds):.2f})")
    print(f"  resident MiB  median {statistics.median(resident):.0f}")
    print(f"  torch in sys.modules of the server: {'yes' if has_torch() else 'no'}")
    if args.install:
        print(f"  site-packages of a fresh venv with .[server,cpu]: {install()} MB (du -sm)")


def start() -> tuple[float, float]:
    """Seconds until the server says it is ready, and its resident MiB then."""
    command = [sys.executable, "-m", "synpose.cli", "serve", "--http-port", "0", "--grpc-port", "0"]
    started = time.monotonic()
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().removeprefix("HTTP on ").strip()
            while httpx.get(f"{address}/readyz").status_code != 200:
                time.sleep(0.01)
            return time.monotonic() - started, psutil.Process(process.pid).memory_info().rss / 2**20
        finally:
            process.terminate()


def has_torch() -> bool:
    """Whether everything that a server imports, with its models loaded, brings torch in."""
    code = (
        "import sys, synpose.cli.serve, synpose_server.serve\n"
        "from synpose_server.engine import Engine; from synpose_server.settings import Settings\n"
        "Engine(Settings()); print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=True, capture_output=True, text=True)
    return run.stdout.strip() == "True"


def install() -> int:
    """MB of site-packages after installing this tree with `[server,cpu]` and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = [str(Path(folder, "bin", "pip")), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"{ROOT}[server,cpu]"], check=True)
        (packages,) = Path(folder, "lib").glob("python3*/site-packages")
        return int(
            subprocess.run(["du", "-sm", packages], check=True, capture_output=True, text=True).stdout.split()[0]
        )


if __name__ == "__main__":
    main()
