"""CPU time of `synpose estimate` against the bare sum of decoding its videos and running its spatial graph.

    python benchmarks/clip_cost.py
    python benchmarks/clip_cost.py --models fast --repeats 5 --clip CALIBRATION VIDEO...

Three things are measured, each in a process of its own, `--repeats` times, of one model after the other: the command on
the whole clip, the command on the clip's first frame sets (its start-up: imports, loading, finding the person), and the
bare work: PyAV decoding every frame without conversion, and ONNX Runtime running the spatial graph on the crops that
the engine made, in its batches, with its threads. Numbers are CPU milliseconds (user and system) a frame set; the
machine may be busy with other things, so only ratios within one round and their medians mean anything. Every further
model is also compared with the first.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "balancing"
PACKAGES = os.pathsep.join(str(ROOT / folder) for folder in ("client", "model", "server"))
START = 2  # frame sets of the clip that shows the start-up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["accurate", "quick"], metavar="NAME", help="models to measure")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds; medians are over these (5)")
    parser.add_argument(
        "--clip",
        nargs="+",
        type=Path,
        metavar="FILE",
        default=[EXAMPLE / "Calib.qca.txt", *sorted(EXAMPLE.glob("cam*.mp4"))],
        help="calibration and videos (examples/balancing)",
    )
    parser.add_argument("--bare", nargs="+", help=argparse.SUPPRESS)  # this script as the bare work's own process
    args = parser.parse_args()
    if args.bare:
        _bare(*args.bare)
        return
    calibration, *videos = args.clip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        short = [_head(video, folder, START) for video in videos]
        counts = {model: record(calibration, videos, model, folder / model) for model in args.models}
        rows: dict[str, list[tuple[float, ...]]] = {model: [] for model in args.models}
        for _ in range(args.repeats):
            for model, count in counts.items():
                whole = estimate(calibration, videos, model, folder)
                start = estimate(calibration, short, model, folder)
                decode = _bare_process("decode", *map(str, videos)) / count
                infer = _bare_process("infer", str(folder / model)) / count
                rows[model].append((whole / count, start, (whole - start) / (count - START), decode, infer))
        tables = {model: np.array(rows[model]) * 1e3 for model in args.models}
        for model, table in tables.items():
            report(model, counts[model], table)
        first = args.models[0]
        for model in args.models[1:]:
            ratios = tables[model][:, 2] / tables[first][:, 2]
            what = f"{model} to {first}, a further frame set"
            print(f"  {what:<46}{statistics.median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)


def report(model: str, count: int, rows: np.ndarray) -> None:
    """Table of `rows` (repeats, 5): milliseconds of command, start-up, command without start-up, decode, infer."""
    whole, start, further, decode, infer = rows.T
    print(f"\n{model}: {count} frame sets, {len(rows)} rounds; CPU ms a frame set, medians (least to most)")
    for what, values in (
        ("PyAV decoding alone", decode),
        ("ONNX Runtime alone", infer),
        ("bare sum", decode + infer),
        ("synpose estimate, a further frame set", further),
        ("synpose estimate, start-up included", whole),
        ("start-up (ms, once)", start),
    ):
        print(f"  {what:<40}{statistics.median(values):8.1f}  ({min(values):.1f} to {max(values):.1f})")
    for what, ratios in (
        ("ratio to the bare sum, a further frame set", further / (decode + infer)),
        ("ratio to the bare sum, start-up included", whole / (decode + infer)),
    ):
        print(f"  {what:<46}{statistics.median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)


def estimate(calibration: Path, videos: Sequence[Path], model: str, folder: Path) -> float:
    """CPU seconds of one `synpose estimate`."""
    command = [sys.executable, "-m", "synpose.cli", "estimate", "--calibration", str(calibration), "--model", model]
    command += ["--output", str(folder / "answer.json"), *map(str, videos)]
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": PACKAGES}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return usage.ru_utime + usage.ru_stime


def record(calibration: Path, videos: Sequence[Path], model: str, folder: Path) -> int:
    """Write the crops that the engine gives its spatial graph, batch by batch, and how it runs it; the frame sets."""
    _importable()
    from synpose.calibration import read_calibration
    from synpose.options import Options
    from synpose_server.batcher import Arrays
    from synpose_server.engine import Engine
    from synpose_server.settings import Settings

    settings = Settings()
    engine = Engine(settings)
    served = engine.model(model)
    batches: list[dict[str, np.ndarray]] = []
    run, most = served._run, served.graphs["spatial"].limit

    def recorded(kind: str, **inputs: np.ndarray) -> Arrays:
        if kind == "spatial":
            parts = ({n: x[k : k + most] for n, x in inputs.items()} for k in range(0, len(inputs["images"]), most))
            batches.extend(parts)
        return run(kind, **inputs)

    served._run = recorded  # type: ignore[method-assign]
    sources = {video.stem: video for video in videos}
    with engine.estimate(read_calibration(calibration), sources, Options(model=model)) as estimation:
        count = sum(1 for _ in estimation)
    folder.mkdir()
    inputs = {name: np.concatenate([part[name] for part in batches]) for name in batches[0]}
    np.savez(folder / "inputs.npz", **inputs)  # type: ignore[arg-type]
    (folder / "run.json").write_text(
        json.dumps(
            {
                "graph": str(served.bundle.graphs["spatial"]),
                "threads": settings.graph_threads,
                "batches": [len(batch["images"]) for batch in batches],
            }
        )
    )
    return count


def _head(video: Path, folder: Path, count: int) -> Path:
    """The first `count` frames of `video`, its packets unchanged."""
    import av

    out = folder / video.name
    with av.open(str(video)) as source, av.open(str(out), "w") as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        for packet, _ in zip(source.demux(video=0), range(count), strict=False):
            packet.stream = stream
            sink.mux(packet)
    return out


def _bare_process(*what: str) -> float:
    command = [sys.executable, __file__, "--bare", *what]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _bare(what: str, *paths: str) -> None:
    """Print the CPU seconds of the loop alone: imports, opening and loading are not in it."""
    if what == "decode":
        import av

        containers = [av.open(path) for path in paths]
        for container in containers:
            container.streams.video[0].codec_context.thread_count = 1  # as the engine; more threads only cost more CPU
        started = time.process_time()
        for container in containers:
            for _ in container.decode(video=0):
                pass
    else:
        import onnxruntime as ort

        run = json.loads((Path(paths[0]) / "run.json").read_text())
        inputs = dict(np.load(Path(paths[0]) / "inputs.npz"))
        options = ort.SessionOptions()
        options.intra_op_num_threads = run["threads"]
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as the engine: spinning is CPU time
        session = ort.InferenceSession(run["graph"], options, providers=["CPUExecutionProvider"])
        ends = np.cumsum(run["batches"])[:-1]
        parts = zip(*(np.split(value, ends) for value in inputs.values()), strict=True)
        batches = [dict(zip(inputs, part, strict=True)) for part in parts]
        session.run(["keypoints"], batches[0])
        started = time.process_time()
        for batch in batches:
            session.run(["keypoints"], batch)
    print(time.process_time() - started)


def _importable() -> None:
    sys.path[:0] = PACKAGES.split(os.pathsep)


if __name__ == "__main__":
    main()
