"""Send the example clip to a server of its own and leave the answer as files, a video and a picture.

Needs a checkout (the clip lies in examples/balancing), or another clip of the same layout: videos named by their
cameras and Calib.qca.txt in one folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from synpose.cli.extras import needs_extra
from synpose.cli.settings import load_settings

__all__ = ["EXAMPLE", "configure", "run"]

EXAMPLE = "synpose demo --output demo-output"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clip", type=Path, metavar="DIR", help="folder of the clip (examples/balancing)")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), metavar="DIR", help="where the files go")
    parser.add_argument("--model", default="default", metavar="NAME", help="model to use (default)")


def run(args: argparse.Namespace) -> None:
    with needs_extra("server,cpu,demo"):
        import matplotlib  # noqa: F401  # drawn with at the end, missed at the start
        from rich.console import Console

        from synpose_server.demo import EXAMPLE_CLIP, demo
    demo(args.clip or EXAMPLE_CLIP, args.output, args.model, load_settings(), Console())
