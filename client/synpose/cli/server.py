"""Which server a command asks, and as whom."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from synpose.errors import OptionsError

if TYPE_CHECKING:
    from synpose.client import Client
    from synpose.transports.base import Credentials

__all__ = ["add_arguments", "connect", "read_credentials"]


def add_arguments(parser: argparse.ArgumentParser, purpose: str, *, required: bool = False) -> None:
    """The arguments that `connect` reads, on `parser`."""
    parser.add_argument(
        "--server", required=required, metavar="URL", help=f"{purpose} (http(s)://... or grpc(s)://...)"
    )
    parser.add_argument("--api-key", metavar="KEY", help="key for the server (better: SYNPOSE_API_KEY, which ps hides)")
    parser.add_argument("--ca", metavar="FILE", help="certificates (PEM) that vouch for the server")
    parser.add_argument("--cert", metavar="FILE", help="own certificate (PEM), where the server wants one")
    parser.add_argument("--cert-key", metavar="FILE", help="its private key, if it is in a file of its own")


def connect(args: argparse.Namespace) -> Client:
    """A client of the server that `args` name; raises from `synpose.errors`."""
    from synpose.client import Client

    credentials = read_credentials(args)
    return Client(args.server, api_key=credentials.api_key, ca=credentials.ca, cert=credentials.cert)


def read_credentials(args: argparse.Namespace) -> Credentials:
    """Who `args` say the caller is; raises from `synpose.errors`."""
    from synpose.transports.base import Credentials

    if args.cert_key and not args.cert:
        raise OptionsError("--cert-key goes with --cert", field="cert_key")
    cert = (args.cert, args.cert_key or args.cert) if args.cert else None
    key = args.api_key or os.environ.get("SYNPOSE_API_KEY") or None
    return Credentials.of(key, args.ca, cert)
