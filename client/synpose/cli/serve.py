"""Serve estimates over HTTP and gRPC until SIGTERM or Ctrl-C.

Flags go before the environment (SYNPOSE_HOST, SYNPOSE_HTTP_PORT, ...), which also holds the settings without a flag.
"""

from __future__ import annotations

import argparse
import logging
from functools import partial
from pathlib import Path

from synpose.cli.extras import needs_extra
from synpose.cli.settings import load_settings

__all__ = ["EXAMPLE", "configure", "run"]

EXAMPLE = "synpose serve --host 0.0.0.0 --http-port 8000 --grpc-port 8001"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--http-port", type=int, metavar="PORT", help="port of HTTP; 0 for a free one (8000)")
    parser.add_argument("--grpc-port", type=int, metavar="PORT", help="port of gRPC; 0 for a free one (8001)")
    parser.add_argument("--models", type=Path, metavar="DIR", help="folder of bundles (those of the package)")


def run(args: argparse.Namespace) -> None:
    settings = load_settings(host=args.host, http_port=args.http_port, grpc_port=args.grpc_port, models=args.models)
    with needs_extra("server,cpu"):
        from synpose_server import serve
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    serve.run(settings, partial(print, flush=True))
