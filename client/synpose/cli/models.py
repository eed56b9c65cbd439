"""List the models of this installation, or of a server."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from synpose.cli.extras import needs_extra
from synpose.cli.server import add_arguments, connect
from synpose.cli.settings import load_settings

if TYPE_CHECKING:
    from synpose.pose import ServedModel

__all__ = ["EXAMPLE", "configure", "run"]

EXAMPLE = "synpose models --server http://127.0.0.1:8000"

_HEADER = ("NAME", "VERSION", "SKELETONS", "DESCRIPTION")


def configure(parser: argparse.ArgumentParser) -> None:
    add_arguments(parser, "ask this server")


def run(args: argparse.Namespace) -> None:
    rows = [_HEADER]
    for model in _models(args):
        name = f"{model.name} (default)" if model.is_default else model.name
        rows.append((name, model.version, ", ".join(model.skeletons), model.description))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _models(args: argparse.Namespace) -> tuple[ServedModel, ...]:
    if args.server is not None:
        with connect(args) as client:
            return client.models()
    settings = load_settings()
    with needs_extra("server,cpu"):
        from synpose_server.engine import Engine
    return Engine(settings).models
