"""Make, list and remove API keys of a server.

A new key is printed once; the file holds only its hash. A running server takes changes up within a second. Serve with
the file as SYNPOSE_KEYS or --keys.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from synpose.cli.extras import needs_extra
from synpose.errors import OptionsError

__all__ = ["EXAMPLE", "configure", "run"]

EXAMPLE = "synpose keys add lab-1 --file keys.json --scopes estimate,stream --requests-per-second 5"


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    add = actions.add_parser("add", help="make a key and print it", allow_abbrev=False)
    add.add_argument("name", metavar="NAME", help="whose key it is; logs tell it")
    add.add_argument(
        "--scopes", default="estimate,stream", metavar="LIST", help="of estimate, stream, metrics, admin (the first 2)"
    )
    add.add_argument("--requests-per-second", type=float, metavar="R", help="most requests begun a second (no limit)")
    add.add_argument("--concurrent-requests", type=int, metavar="N", help="most requests at a time (no limit)")
    remove = actions.add_parser("remove", help="remove a key", allow_abbrev=False)
    remove.add_argument("name", metavar="NAME", help="the key's name")
    for action in (add, remove, actions.add_parser("list", help="list the keys", allow_abbrev=False)):
        action.add_argument("--file", type=Path, metavar="FILE", help="file of keys (SYNPOSE_KEYS)")


def run(args: argparse.Namespace) -> None:
    with needs_extra("server,cpu"):
        from synpose_server.auth import Keys
    path = args.file or (Path(name) if (name := os.environ.get("SYNPOSE_KEYS")) else None)
    if path is None:
        raise OptionsError("which file? pass --file or set SYNPOSE_KEYS", field="file")
    if args.action == "add":
        keys = Keys.read(path) if path.exists() else Keys()
        scopes = [scope.strip() for scope in args.scopes.split(",") if scope.strip()]
        keys, secret = keys.with_new(args.name, scopes, args.requests_per_second, args.concurrent_requests)
        keys.write(path)
        print(secret)
    elif args.action == "remove":
        Keys.read(path).without(args.name).write(path)
    else:
        for key in Keys.read(path):
            limits = [f"{key.requests_per_second:g}/s"] if key.requests_per_second else []
            limits += [f"{key.concurrent_requests} at a time"] if key.concurrent_requests else []
            print(f"{key.name}  {','.join(key.scopes)}  {', '.join(limits) or 'no limit'}")
