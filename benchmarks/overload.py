"""What a server answers in time when more is asked of it than it can do.

    python benchmarks/overload.py
    python benchmarks/overload.py --model fast --load 1.7 --seconds 30

A server is started, and single frame sets (images of `--cameras` cameras) are sent to it over HTTP. First by as many
callers as it has places, each as soon as it has its answer: its capacity. Then at `--load` times that rate, at random
moments, each with a deadline of `--deadline` seconds (three times the median answer of the first part, if not given),
while readiness is asked ten times a second. Goodput is answers in time, as a share of capacity. Refusals are timed
twice: by the caller, who shares the machine with the server, and in the server's log, from a request's head to the end
of its answer. Both parts alternate `--rounds` times; the machine may be busy, so shares of a round and their medians
are what means anything.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

import cv2
import httpx

Body: TypeAlias = tuple[bytes, str]
"""A form, encoded once, and its content type."""
CLIP = Path(__file__).parent.parent / "examples" / "balancing"


@dataclass
class Answer:
    """One request: when it was sent, how long it took, its status."""

    sent: float
    seconds: float
    status: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fast")
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--load", type=float, default=1.7, help="times the capacity")
    parser.add_argument("--deadline", type=float, help="seconds")
    parser.add_argument("--seconds", type=float, default=20, help="of each part of a round")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    command = [sys.executable, "-m", "synpose.cli", "serve", "--http-port", "0", "--grpc-port", "0"]
    told = {**os.environ, "SYNPOSE_LOG_LEVEL": "info", "SYNPOSE_LOG_FORMAT": "json"}
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=told) as server,
    ):
        assert server.stdout is not None
        url = re.search(r"http://\S+", server.stdout.readline())
        assert url is not None, "the server did not start"
        try:
            asyncio.run(measure(url[0], args))
        finally:
            server.terminate()
        server.wait()
        for reason in ("overloaded", "deadline-exceeded"):
            took = refused(log, reason)
            print(f"{reason} by the server's log: {len(took)}, {times(took)}")


def refused(log: IO[str], reason: str) -> list[float]:
    """The seconds of each call that was refused for `reason`, by a server's JSON log."""
    log.seek(0)
    lines = [json.loads(line) for line in log if line.startswith("{")]
    return [line["seconds"] for line in lines if line.get("reason") == reason]


async def measure(url: str, args: argparse.Namespace) -> None:
    body = request(args.cameras, args.model)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        await closed(client, body, 3)  # warm
        shares, ready = [], []
        for _ in range(args.rounds):
            answers = await closed(client, body, args.seconds)
            capacity = len(answers) / max(a.sent + a.seconds for a in answers)
            median = statistics.median(a.seconds for a in answers)
            deadline = args.deadline or 3 * median
            answers, probes = await opened(client, body, args.load * capacity, deadline, args.seconds)
            ready += probes
            good = [a for a in answers if a.status == 200 and a.seconds <= deadline]
            shares.append(len(good) / args.seconds / capacity)
            report(capacity, median, deadline, shares[-1], answers)
        print(f"goodput, share of capacity: {statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})")
        print(f"readiness: {times(ready)}")


def report(capacity: float, median: float, deadline: float, share: float, answers: list[Answer]) -> None:
    told = [a.seconds for a in answers if a.status == 503]
    late = [a.seconds for a in answers if a.status == 200 and a.seconds > deadline]
    statuses = {status: sum(a.status == status for a in answers) for status in sorted({a.status for a in answers})}
    print(f"capacity {capacity:.2f}/s, median {median * 1e3:.0f} ms, deadline {deadline * 1e3:.0f} ms", end=": ")
    print(f"goodput {share:.2f}, {statuses}", end=", ")
    print(f"refusals {times(told)}", end=", ")
    print(f"{len(late)} late by up to {max(late, default=deadline) / deadline - 1:.0%}", flush=True)


async def closed(client: httpx.AsyncClient, body: Body, seconds: float) -> list[Answer]:
    """Two callers, each with one request at a time."""
    answers: list[Answer] = []
    start = time.perf_counter()

    async def caller() -> None:
        while time.perf_counter() - start < seconds:
            answers.append(await post(client, body, start, {}))

    await asyncio.gather(caller(), caller())
    return answers


async def opened(
    client: httpx.AsyncClient, body: Body, rate: float, deadline: float, seconds: float
) -> tuple[list[Answer], list[float]]:
    """Requests at random moments, whatever becomes of those before; and how long readiness took."""
    start, chance = time.perf_counter(), random.Random(0)
    headers = {"X-Request-Timeout": f"{deadline:.4f}"}
    tasks, moment = [], chance.expovariate(rate)
    probes: list[float] = []

    async def probe() -> None:
        while True:
            began = time.perf_counter()
            assert (await client.get("/readyz")).status_code == 200
            probes.append(time.perf_counter() - began)
            await asyncio.sleep(0.1)

    probing = asyncio.create_task(probe())
    while moment < seconds:
        await asyncio.sleep(max(0.0, start + moment - time.perf_counter()))
        tasks.append(asyncio.create_task(post(client, body, start, headers)))
        moment += chance.expovariate(rate)
    answers = await asyncio.gather(*tasks)
    probing.cancel()
    return answers, probes


async def post(client: httpx.AsyncClient, body: Body, start: float, headers: dict[str, str]) -> Answer:
    began = time.perf_counter()
    content, kind = body
    response = await client.post("/v1/pose3d", content=content, headers={"content-type": kind, **headers})
    assert response.status_code in (200, 503), response.text
    return Answer(began - start, time.perf_counter() - began, response.status_code)


def request(cameras: int, model: str) -> Body:
    """A frame set of the clip's first images, as a form."""
    files = [("calibration", ("Calib.qca.txt", next(CLIP.glob("*.qca.txt")).read_bytes()))]
    for video in sorted(CLIP.glob("*.mp4"))[:cameras]:
        capture = cv2.VideoCapture(str(video))
        _, image = capture.read()
        files.append(("frame", (f"{video.stem}_0.jpg", cv2.imencode(".jpg", image)[1].tobytes())))
    files.append(("options", ("options.json", f'{{"model": "{model}"}}'.encode())))
    form = httpx.Request("POST", "http://any", files=files)
    return form.read(), form.headers["content-type"]


def times(values: list[float]) -> str:
    if len(values) < 2:
        return f"{len(values)} only"
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return ", ".join(f"{name} {cuts[k - 1] * 1e3:.1f} ms" for name, k in (("median", 50), ("p90", 90), ("p99", 99)))


if __name__ == "__main__":
    main()
