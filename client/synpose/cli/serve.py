"""Serve estimates over HTTP and gRPC until SIGTERM or Ctrl-C.

Flags go before the environment (SYNPOSE_HOST, SYNPOSE_HTTP_PORT, ...), which also holds the settings without a flag.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from synpose.cli.extras import needs_extra
from synpose.cli.settings import load_settings
from synpose.errors import OptionsError

__all__ = ["EXAMPLE", "configure", "run"]

_RAY = ("replicas", "max_replicas")

EXAMPLE = "synpose serve --host 0.0.0.0 --http-port 8000 --grpc-port 8001"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--http-port", type=int, metavar="PORT", help="port of HTTP; 0 for a free one (8000)")
    parser.add_argument("--grpc-port", type=int, metavar="PORT", help="port of gRPC; 0 for a free one (8001)")
    parser.add_argument("--models", type=Path, metavar="DIR", help="folder of bundles (those of the package)")
    parser.add_argument("--keys", type=Path, metavar="FILE", help="API keys (see `synpose keys`); everybody without")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain; both doors then speak TLS")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="private key of the certificate")
    parser.add_argument("--tls-client-ca", type=Path, metavar="FILE", help="let in only clients that these vouch for")
    parser.add_argument("--ray", action="store_true", help="replicas over Ray Serve, on RAY_ADDRESS or this machine")
    parser.add_argument("--replicas", type=int, metavar="N", help="replicas at any time, with --ray (1)")
    parser.add_argument("--max-replicas", type=int, metavar="N", help="replicas under load, with --ray (--replicas)")


def run(args: argparse.Namespace) -> None:
    names = ("host", "http_port", "grpc_port", "models", "keys", "tls_cert", "tls_key", "tls_client_ca", *_RAY)
    settings = load_settings(**{name: getattr(args, name) for name in names})
    if not args.ray and (settings.replicas > 1 or settings.max_replicas > 1):
        raise OptionsError("replicas run over Ray only: add --ray, or leave them out", field="replicas")
    with needs_extra("server,cpu"):
        from synpose_server import logs, serve, tracing
    logs.set_up(settings.log_format, settings.log_level)
    tracing.set_up()
    say = partial(print, flush=True)
    if not args.ray:
        serve.run(settings, say)
        return
    with needs_extra("ray"):
        from synpose_server.cluster import deploy
    deploy.run(settings, say)
