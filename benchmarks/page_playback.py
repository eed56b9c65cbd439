"""How smoothly the page plays ten minutes in a real Chromium, and what playing them three times leaves in memory.

    python benchmarks/page_playback.py [--seconds 60] [--compositing gl] [--passes 3]

Makes a clip of four cameras (640×360, 30 a second) and 18,000 frames of a walker, opens them in the page of a server of
its own, plays at normal speed and reports the time between animation frames and the processor time that each took; then
plays the whole clip three times at eightfold speed and reports JavaScript's heap and the memory of the browser's page
after each. Chromium draws WebGL in software here (SwiftShader), on the processor that also decodes the videos, and puts
the page together as it does on any computer without a GPU. `--compositing gl` has it take SwiftShader for a GPU and
draw all of the page with it, which nobody's computer does and which costs several times as much.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import psutil

from synpose.calibration import write_calibration
from synpose.formats import ndjson
from synpose.pose import Frame, ModelInfo, Person, PoseHeader, PoseSequence
from synpose.rig import Camera, Rig
from synpose.skeleton import HALPE26

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # whatever the folder it is started in
from tests.e2e.browser import chromium

FPS, FRAMES, SIZE = 30, 18_000, (640, 360)
SPEED = 8
NAMES = ("cam01", "cam02", "cam03", "cam04")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="how long frames are timed (60)")
    parser.add_argument("--compositing", choices=("software", "gl"), default="software", help="(software)")
    parser.add_argument("--passes", type=int, default=3, help="how often the whole clip is played for its memory (3)")
    args = parser.parse_args()
    flags = ("--use-gl=angle", "--use-angle=swiftshader") if args.compositing == "gl" else ()
    with TemporaryDirectory() as folder, _server() as address, chromium(*flags) as browser:
        files = _make(Path(folder))
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        devtools = page.context.new_cdp_session(page)
        page.goto(address)
        page.locator("#picker").set_input_files(files[:-1])
        page.get_by_text("4 cameras: cam01").wait_for()
        page.locator("#picker").set_input_files(files[-1])
        page.wait_for_function("() => window.viewer?.player.frame > 30", timeout=120_000)

        page.evaluate("() => { viewer.framesDrawn = 0; }")
        before = _cpu_seconds()
        page.wait_for_timeout(args.seconds * 1000)
        spent = _cpu_seconds() - before
        drawn = page.evaluate("() => [viewer.framesDrawn, ...viewer.frameTimes]")
        times = np.array(drawn[1 : 1 + min(int(drawn[0]), len(drawn) - 1)])
        median, p95 = np.percentile(times, (50, 95))
        print(
            f"{len(times)} frames in {args.seconds} s: median {median:.1f} ms, p95 {p95:.1f} ms;"
            f" {1000 * spent / len(times):.1f} ms of processor time each; load {os.getloadavg()[0]:.1f},"
            f" level {page.evaluate('() => viewer.pace.level')} of server/web/src/pace.ts",
            flush=True,
        )

        page.evaluate(f"() => viewer.player.setSpeed({SPEED})")
        for turn in range(args.passes + 1):
            page.evaluate("() => viewer.player.seek(0)")
            if turn:
                page.wait_for_function(f"() => viewer.player.frame > {FRAMES - 300}", timeout=300_000, polling=200)
            print(f"played {turn} times: {_memory(devtools)}", flush=True)


def _browser() -> list[psutil.Process]:
    """The processes of the browser that was started here, but for its first."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if any(part.startswith("--type=") for part in process.cmdline())
    ]


def _cpu_seconds() -> float:
    return sum(sum(process.cpu_times()[:2]) for process in _browser())


def _memory(devtools: Any) -> str:
    devtools.send("HeapProfiler.collectGarbage")
    heap = devtools.send("Runtime.getHeapUsage")["usedSize"]
    page = max(process.memory_info().rss for process in _browser() if "--type=renderer" in process.cmdline())
    return f"heap {heap / 1e6:.1f} MB, largest page process {page / 1e6:.0f} MB"


def _make(folder: Path) -> list[Path]:
    """Calibration, videos and answer."""
    calibration = folder / "rig.json"
    calibration.write_text(write_calibration(_rig()))
    first = folder / f"{NAMES[0]}.mp4"
    _video(first)
    videos = [first]
    for name in NAMES[1:]:
        videos.append(folder / f"{name}.mp4")
        videos[-1].write_bytes(first.read_bytes())
    answer = folder / "walk.ndjson"
    answer.write_bytes(ndjson.encode(_walk()))
    return [calibration, *videos, answer]


def _rig() -> Rig:
    K = np.array([[500, 0, 319.5], [0, 500, 179.5], [0, 0, 1]])
    cameras = []
    for name, angle in zip(NAMES, np.arange(4) * np.pi / 2, strict=True):
        eye = np.array((4 * np.cos(angle), 4 * np.sin(angle), 1.5))
        ahead = np.array((0, 0, 1.0)) - eye
        ahead /= np.linalg.norm(ahead)
        right = np.cross(ahead, (0, 0, 1))
        right /= np.linalg.norm(right)
        R = np.stack((right, np.cross(ahead, right), ahead))
        cameras.append(Camera(name, SIZE, K, R, -R @ eye, (-0.1, 0.02, 0, 0)))
    return Rig(tuple(cameras))


def _video(path: Path) -> None:
    width, height = SIZE
    ramp = np.linspace(40, 120, width, dtype=np.uint8)[None].repeat(height, 0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "g": "60"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(FRAMES):
            gray = ramp.copy()
            left = index * 4 % (width - 40)
            gray[140:220, left : left + 40] = 220
            image = np.full((height * 3 // 2, width), 128, np.uint8)
            image[:height] = gray
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="yuv420p")))
        container.mux(stream.encode())


def _walk() -> PoseSequence:
    rng = np.random.default_rng(0)
    height = np.linspace(1.7, 0.05, len(HALPE26))
    body = np.stack((rng.normal(0, 0.15, len(HALPE26)), rng.normal(0, 0.15, len(HALPE26)), height), -1)
    swing = rng.uniform(0, 2 * np.pi, body.shape)
    frames = []
    for index in range(FRAMES):
        joints = body + 0.08 * np.sin(index / 6 + swing) + (np.sin(index / 90), np.cos(index / 110), 0)
        sigma = 0.02 + 0.015 * np.sin(index / 40 + swing[:, 0])
        frames.append(Frame(index, index / FPS, (Person(0, 0.9, joints, sigma, NAMES),)))
    return PoseSequence(PoseHeader(ModelInfo("synthetic", "1"), HALPE26, FPS), tuple(frames))


@contextmanager
def _server() -> Iterator[str]:
    command = [
        sys.executable,
        "-c",
        "from synpose.cli import main; main()",
        "serve",
        "--http-port",
        "0",
        "--grpc-port",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
