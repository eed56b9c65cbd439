"""Make the small training data that comes with Synpose from a full data folder (`synpose render`).

    python scripts/make_training_example.py data examples/training

Keeps every motion on one body, cut to its first ten seconds, and a part of the recorded errors.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from synpose_model.data.errors import Errors, read_errors
from synpose_model.data.poses import read_poses, save_poses

_FRAMES, _TRACKS = 300, {"train": 160, "validation": 40}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--bodies", type=int, default=6, metavar="N", help="bodies for each motion in DATA (6)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for split, bodies in (("train", args.bodies), ("validation", 3)):
        poses = read_poses(args.data / f"poses_{split}.npz")
        parts = []
        for motion in range((len(poses.starts) - 1) // bodies):
            first = poses.starts[bodies * motion + motion % bodies]  # bodies in turn, so that all kinds are there
            last = poses.starts[bodies * motion + motion % bodies + 1]
            parts.append(poses.joints[first : min(last, first + _FRAMES)])
        save_poses(args.out / f"poses_{split}.npz", parts)
        errors = read_errors(args.data / f"errors_{split}.npz")
        some = np.random.default_rng(0).permutation(len(errors.off))[: _TRACKS[split]]
        Errors(errors.off[some], errors.swapped[some], errors.score[some], errors.azimuth[some]).save(
            args.out / f"errors_{split}.npz"
        )
    for path in sorted(args.out.glob("*.npz")):
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
