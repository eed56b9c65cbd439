"""An execution provider beside the CPU: does it answer the same, and how much faster is it?

    python benchmarks/providers.py cuda
    python benchmarks/providers.py cuda --models default --sizes 1 8 32 --frames 200 --json cuda.json

Of each model: the inputs that the server gives its graphs for the example clip are recorded once and run by both; the
largest and the median difference of what they say (keypoints of a score of `--score` or more, in pixels of the crop;
joints and sigma in mm). Then runs of so many items, in ms, one size after the other and in turn. Then the clip as a
whole, by both, from the videos to joints: how far apart the joints are, and how long a frame set takes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cameras import CLIP, Bare, workload
from numpy.typing import NDArray

from synpose.calibration import read_calibration
from synpose.options import Options
from synpose_server.batcher import Arrays, count
from synpose_server.engine import Engine
from synpose_server.runtime import Model
from synpose_server.settings import Settings

_LEAST_MS, _WARM = 300.0, 3  # of a measurement, and runs before it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("provider")
    parser.add_argument("--models", nargs="+", default=["fast", "default"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 4, 8, 32], help="items in a run")
    parser.add_argument("--score", type=float, default=0.3, help="from which a keypoint is compared")
    parser.add_argument("--frames", type=int, default=100, help="of the clip, by both, from 12 on; 0: none")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    args = parser.parse_args()
    if args.provider == "cpu":
        parser.error("the CPU is what the other is compared with")
    if 0 < args.frames < 12:
        parser.error("--frames must be 12 at least, or 0")
    figures = {name: figures_of(name, args) for name in args.models}
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))


def figures_of(name: str, args: argparse.Namespace) -> dict[str, Any]:
    engines = {provider: Engine(Settings(provider=provider), only=name) for provider in ("cpu", args.provider)}
    models = {provider: engine.model(name) for provider, engine in engines.items()}
    bare = Bare(workload(4, 720, name))
    calls = [call for calls in (bare.first, *bare.calls) for call in calls]
    told: dict[str, Any] = {"differences": {}, "runs": {}}
    for kind in ("detector", "spatial", "relation"):
        inputs = [arrays for graph, arrays in calls if graph == kind]
        said = {p: [model.graphs[kind].graph.run(dict(arrays)) for arrays in inputs] for p, model in models.items()}
        told["differences"][kind] = gaps = differences(kind, said["cpu"], said[args.provider], args.score)
        for what, (middle, most) in gaps.items():
            print(f"{name} {kind}: {what} differ by {middle:.3f} in the median, {most:.3f} at most", flush=True)
        told["runs"][kind] = timed(name, kind, inputs, models, args.sizes if kind == "spatial" else [1])
    if args.frames:
        told["clip"] = clip(name, engines, args.frames)
    return told


def differences(kind: str, ours: Sequence[Arrays], theirs: Sequence[Arrays], score: float) -> dict[str, Any]:
    """By what is compared: the median and the largest difference."""
    gaps: dict[str, list[NDArray[Any]]] = {}
    for a, b in zip(ours, theirs, strict=True):
        if kind == "relation":
            for what in ("joints", "sigma"):
                gaps.setdefault(f"{what} (mm)", []).append(1e3 * np.abs(a[what] - b[what]).ravel())
            continue
        output = "keypoints" if kind == "spatial" else "people"
        sure = a[output][..., 2] >= score
        off = np.linalg.norm(a[output][..., :2].astype(np.float64) - b[output][..., :2], axis=-1)
        gaps.setdefault("keypoints (px)", []).append(off[sure])
        gaps.setdefault("scores", []).append(np.abs(a[output][..., 2] - b[output][..., 2]).ravel())
    joined = {what: np.concatenate(parts) for what, parts in gaps.items()}
    return {what: [float(np.nanmedian(off)), float(np.nanmax(off))] for what, off in joined.items() if off.size}


def timed(
    name: str, kind: str, inputs: Sequence[Arrays], models: dict[str, Model], sizes: Sequence[int]
) -> dict[str, dict[str, float]]:
    """Milliseconds a run by items and provider: medians, and the longest where the sizes take turns."""
    largest = max(inputs, key=lambda arrays: sum(value.size for value in arrays.values()))
    sized = {}
    for size in sizes:
        rows = np.arange(size) % count(largest)
        sized[size] = {key: value[rows] for key, value in largest.items()}
    told: dict[str, dict[str, float]] = {provider: {} for provider in models}

    def run(provider: str, size: int) -> float:
        start = time.perf_counter()
        models[provider].graphs[kind].graph.run(dict(sized[size]))
        return 1e3 * (time.perf_counter() - start)

    for size in sizes:
        for provider, figures in told.items():
            taken = [run(provider, size) for _ in range(_WARM)]
            while sum(taken[_WARM:]) < _LEAST_MS:
                taken.append(run(provider, size))
            figures[str(size)] = statistics.median(taken[_WARM:])
        cells = (f"{p} {figures[str(size)]:.2f} ms" for p, figures in told.items())
        print(f"{name} {kind} of {size}: {', '.join(cells)}", flush=True)
    if len(sizes) > 1:
        for provider, figures in told.items():
            figures["turns"] = max(run(provider, size) for _ in range(_WARM) for size in sizes)
        cells = (f"{p} {figures['turns']:.2f} ms" for p, figures in told.items())
        print(f"{name} {kind}, sizes in turn, at most: {', '.join(cells)}", flush=True)
    return told


def clip(name: str, engines: dict[str, Engine], frames: int) -> dict[str, float]:
    """The example by both: joints apart, and the milliseconds that a frame set took after the first ten."""
    rig = read_calibration(CLIP / "Calib.qca.txt")
    videos = {video.stem: video for video in sorted(CLIP.glob("*.mp4"))}
    said, told = {}, {}
    for provider, engine in engines.items():
        joints: list[NDArray[np.float64]] = []
        at: list[float] = []
        with engine.estimate(rig, videos, Options(model=name)) as estimation:
            for frame in estimation:
                joints.append(frame.people[0].joints if frame.people else np.full_like(joints[-1], np.nan))
                at.append(time.perf_counter())
                if len(at) == frames:
                    break
        said[provider] = np.array(joints)
        told[f"{provider}_ms"] = 1e3 * (at[-1] - at[10]) / (len(at) - 11)
    ours, theirs = said.values()
    off = 1e3 * np.linalg.norm(ours - theirs, axis=-1)
    told |= {"mm_median": float(np.nanmedian(off)), "mm_p99": float(np.nanpercentile(off, 99))}
    told["unknown"] = float((np.isfinite(ours).all(-1) != np.isfinite(theirs).all(-1)).mean())
    figures = ", ".join(f"{what} {value:.3f}" for what, value in told.items())
    print(f"{name}, {len(ours)} frame sets of the clip: {figures}", flush=True)
    return told


if __name__ == "__main__":
    main()
