"""What each part of the networks is good for: `default` and its ablations, trained alike and measured alike.

    synpose render training --motions BVH_FOLDER --environments ENVIRONMENTS --out data
    synpose render errors --data data --spatial runs/spatial-thunder/last.pt
    synpose render sightings --data data --spatial runs/spatial-thunder/last.pt
    python benchmarks/ablations.py --data data --out runs/ablations
    python benchmarks/ablations.py --data data --out runs/ablations --only time-only views-only

Every row is a short run of its own from fresh weights, with the same steps, batches and seed as the others of its
table; runs that were finished are not repeated. Numbers of a table compare with each other, not with trained bundles.
Spatial rows: error of limb keypoints that are seen, in thousandths of the crop. Relation rows: error of limb joints in
mm with 2, 3, 4 and 6 cameras on simulated rays. Token rows: the same on rendered sequences of held-out subjects.
Parameters, multiply-adds and milliseconds are of one image, or of one window with four cameras; the milliseconds are
CPU time of ONNX Runtime on one thread, median of 15, in turns.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch

from synpose_model.cost import relation_cost, spatial_cost
from synpose_model.export import export_lifting, export_spatial_network
from synpose_model.lifting import LiftingNetwork
from synpose_model.presets import ABLATIONS, PRESETS, Preset
from synpose_model.spatial import SpatialNetwork
from synpose_model.training.config import Config, plain
from synpose_model.training.loop import train

SPATIAL = ("window-4", "window-2", "window-8", "global-attention", "raw-patches")
RELATION = (
    "rays", "no-relation", "time-only", "views-only", "no-geometry-bias", "no-residual", "one-stage",
)  # fmt: skip
TOKENS = ("rays", "tokens", "tokens-and-rays")
TABLES = {"spatial": SPATIAL, "rays": RELATION, "sightings": TOKENS}
STEPS = {"spatial": 250, "rays": 500, "sightings": 400}
SHOWN = {
    "spatial": {"limbs_median": "median", "limbs_mean": "mean", "hidden_mean": "hidden, mean"},
    "rays": {f"mm_{n}": f"{n} cameras" for n in (2, 3, 4, 6)} | {"jitter_4": "jitter, 4 cameras"},
    "sightings": {f"mm_{n}": f"{n} cameras" for n in (2, 3, 4, 6)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of `synpose render`")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="runs, and results.json")
    parser.add_argument("--steps", type=int, metavar="N", help=f"updates of each run ({STEPS})")
    parser.add_argument("--tables", nargs="+", choices=tuple(TABLES), default=tuple(TABLES), help="which tables")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="only these rows")
    args = parser.parse_args()
    written = args.out / "results.json"
    results: dict[str, dict[str, Any]] = json.loads(written.read_text()) if written.exists() else {}
    for task in args.tables:
        names = [name for name in TABLES[task] if not args.only or name in args.only]
        if not names:
            continue
        rows = {name: measure(name, task, args.data, args.out, args.steps or STEPS[task]) for name in names}
        for name, ms in latencies({name: (preset(name), task) for name in names}).items():
            rows[name]["ms"] = ms
        results[task] = rows
        print(table(task, rows), flush=True)
        written.write_text(json.dumps(results, indent=1) + "\n")


def preset(name: str) -> Preset:
    return ABLATIONS[name] if name in ABLATIONS else PRESETS[name]


def measure(name: str, task: str, data: Path, out: Path, steps: int) -> dict[str, Any]:
    """Train one row, unless that was done, and tell what validation says of it and what it costs."""
    of = preset(name)
    config = Config.from_dict(
        {
            "run": {"task": task, "name": name, "seed": 1},
            "optimizer": {"lr": 1e-3, "weight_decay": 0.01},
            "schedule": {"steps": steps, "warmup": 50},
            "loop": {
                "validate_every": steps, "checkpoint_every": steps, "log_every": 50, "ema_decay": 0.98,
                "bf16": task == "spatial",
            },
            "task": {"batch": 32, "most_images": 1500} if task == "spatial" else {"batch": 12},
            "network": plain(of.spatial if task == "spatial" else of.relation),
        }
    )  # fmt: skip
    folder = out / task / name
    train(config, folder, data=data)
    with (folder / "validation.csv").open() as file:
        said = list(csv.DictReader(file))[-1]
    cost = spatial_cost(of.spatial) if task == "spatial" else relation_cost(of.relation, 16, 4)
    return {
        **{key: float(value) for key, value in said.items()},
        "parameters": cost.trained,
        "multiply_adds": cost.multiply_adds,
    }


def latencies(rows: Mapping[str, tuple[Preset, str]]) -> dict[str, float]:
    """CPU milliseconds of one answer of each row's graph, by turns, so that noise falls on all alike."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (of, task) in rows.items():
            path = Path(folder) / f"{name}.onnx"
            torch.manual_seed(0)
            if task == "spatial":
                export_spatial_network(SpatialNetwork(of.spatial).eval(), path)
            else:
                export_lifting(LiftingNetwork(of.relation).eval(), path)
            sessions[name] = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    times: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(15):
        for name, (of, task) in rows.items():
            feed = _image(of) if task == "spatial" else _window(of)
            begin = time.process_time()
            sessions[name].run(None, feed)
            times[name].append(1e3 * (time.process_time() - begin))
    return {name: statistics.median(values) for name, values in times.items()}


def _image(of: Preset) -> dict[str, Any]:
    side = of.spatial.side
    return {"images": np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)}


def _window(of: Preset) -> dict[str, Any]:
    rng, lead, K = np.random.default_rng(0), (1, 16, 4), of.relation.keypoints
    directions = rng.normal(size=(*lead, K, 3)).astype(np.float32)
    feed = {
        "origins": rng.normal(size=(*lead, 3)).astype(np.float32),
        "directions": directions / np.linalg.norm(directions, axis=-1, keepdims=True),
        "scores": rng.random((*lead, K)).astype(np.float32),
        "view_mask": np.ones(lead, np.bool_),
    }
    if of.relation.token:
        feed["tokens"] = rng.normal(size=(*lead, of.relation.token)).astype(np.float32)
    return feed


def table(task: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The rows in Markdown."""
    shown = SHOWN[task]
    lines = [
        "| " + " | ".join((task, *shown.values(), "trained parameters", "multiply-adds", "ms")) + " |",
        "|---" * (len(shown) + 4) + "|",
    ]
    for name, row in rows.items():
        numbers = [f"{row[key]:.1f}" for key in shown]
        costs = [f"{row['parameters'] / 1e6:.2f} M", f"{row['multiply_adds'] / 1e9:.3f} G", f"{row['ms']:.1f}"]
        lines.append("| " + " | ".join((name, *numbers, *costs)) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
