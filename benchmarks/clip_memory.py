"""Memory of `synpose estimate` over a long clip, and what keeping and writing a long answer adds.

    python benchmarks/clip_memory.py --frames 36000       # ten minutes at 60 frames a second: about an hour of CPU
    python benchmarks/clip_memory.py --frames 4800

The clip is the example played again and again: its packets, unchanged, with later time stamps. The resident memory of
the command is sampled every second; a flat curve means that a longer clip needs no more, but for the answer, which is
kept until the end in every format but .ndjson. What that costs is measured apart, in a process that keeps and writes
`--answer-frames` frames.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "balancing"
PACKAGES = [str(ROOT / folder) for folder in ("client", "model", "server")]
MIB = 1024 * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=36_000, metavar="N", help="frame sets of the clip (36000)")
    parser.add_argument("--model", default="fast", metavar="NAME", help="model to use (fast)")
    parser.add_argument("--answer-frames", type=int, default=36_000, metavar="N", help="frames of the answer (36000)")
    parser.add_argument("--answer", nargs=3, help=argparse.SUPPRESS)  # this script as the process that keeps an answer
    args = parser.parse_args()
    if args.answer:
        answer(args.answer[0], *map(int, args.answer[1:]))
        return
    print(f"answers of {args.answer_frames} frames, coco17: resident MiB after keeping them, peak while writing")
    for people in (1, 8):
        for form in ("json", "csv", "trc"):
            command = [sys.executable, __file__, "--answer", form, str(args.answer_frames), str(people)]
            subprocess.run(command, check=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = [looped(video, folder / video.name, args.frames) for video in sorted(EXAMPLE.glob("cam*.mp4"))]
        curve(videos, args.model, args.frames, folder)


def curve(videos: Sequence[Path], model: str, frames: int, folder: Path) -> None:
    """Run the command on `videos` and print its resident memory over time."""
    command = [sys.executable, "-m", "synpose.cli", "estimate", "--calibration", str(EXAMPLE / "Calib.qca.txt")]
    command += ["--model", model, "--output", str(folder / "answer.json"), *map(str, videos)]
    started = time.monotonic()
    process = subprocess.Popen(
        command, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": os.pathsep.join(PACKAGES)}
    )
    watched, samples = psutil.Process(process.pid), []
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        samples.append((time.monotonic() - started, watched.memory_info().rss / MIB))
        time.sleep(1)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    seconds, resident = np.array(samples).T
    print(f"\n{model}, {frames} frame sets of {len(videos)} cameras in {seconds[-1]:.0f} s; resident MiB")
    for share in range(0, 100, 10):
        part = resident[(seconds >= seconds[-1] * share / 100) & (seconds <= seconds[-1] * (share + 10) / 100)]
        if len(part):
            print(
                f"  {share:3d} to {share + 10:3d} % of the run  median {np.median(part):6.0f}  most {part.max():6.0f}"
            )
    middle, end = (
        np.median(resident[int(len(seconds) * a) : int(len(seconds) * b)]) for a, b in ((0.4, 0.6), (0.8, 1))
    )
    growth = (end - middle) / (0.4 * frames) * 1000
    print(f"  growth from the middle to the end {growth:.2f} MiB a thousand frame sets")
    print(f"  peak (ru_maxrss) {usage.ru_maxrss / 1024:.0f} MiB")


def looped(video: Path, path: Path, frames: int) -> Path:
    """`video` played until it has `frames` frames, written to `path` without decoding."""
    with av.open(str(video)) as source:
        stream = source.streams.video[0]
        packets = [packet for packet in source.demux(stream) if packet.size]
        length = sum(packet.duration for packet in packets)
        stamps = [(packet.pts, packet.dts) for packet in packets]
        with av.open(str(path), "w") as sink:
            out = sink.add_stream_from_template(stream)
            for number in range(frames):
                turn, place = divmod(number, len(packets))
                packet = packets[place]
                packet.stream = out
                packet.time_base = stream.time_base
                packet.pts, packet.dts = (stamp + turn * length for stamp in stamps[place])
                sink.mux(packet)
    return path


def answer(form: str, frames: int, people: int) -> None:
    """Keep `frames` frames of `people` as the command does, write them, and print what that took."""
    sys.path[:0] = PACKAGES
    from synpose.formats import FORMATS
    from synpose.pose import Frame, ModelInfo, Person, PoseHeader, PoseSequence
    from synpose.skeleton import get_skeleton

    skeleton, views, random = get_skeleton("coco17"), ("cam01", "cam02", "cam03", "cam04"), np.random.default_rng(0)

    def person(number: int) -> Person:
        return Person(number, 0.5, random.normal(size=(len(skeleton), 3)), random.random(len(skeleton)), views)

    before = psutil.Process().memory_info().rss
    kept = [Frame(index, index / 60, tuple(map(person, range(people)))) for index in range(frames)]
    after = psutil.Process().memory_info().rss
    started = time.process_time()
    size = len(FORMATS[form].write(PoseSequence(PoseHeader(ModelInfo("fast", "0"), skeleton, 60.0), kept)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    kept_size, most = (after - before) / MIB, (peak - before) / MIB
    print(
        f"  {people} people, {form:<5} kept {kept_size:5.0f}  peak while writing {most:5.0f}"
        f"  file {size / MIB:4.0f}  {time.process_time() - started:5.1f} s of CPU",
        flush=True,
    )


if __name__ == "__main__":
    main()
