"""Reads the command line and calls the command; every expected error ends in one line and exit status 2."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from synpose.cli import (
    bench,
    calibrate,
    demo,
    estimate,
    evaluate,
    export,
    keys,
    models,
    quantise,
    render,
    serve,
    stream,
    train,
)
from synpose.errors import OptionsError, SynposeError

__all__ = ["main"]

_COMMANDS = (serve, keys, estimate, stream, calibrate, demo, bench, evaluate, models, render, train, export, quantise)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `synpose` with `argv` and return its exit status.

    0, 2 for what cannot be done, 130 for Ctrl-C, 141 if nobody reads what is printed.
    """
    try:
        args = _parser().parse_args(argv)
        args.run(args)
    except SynposeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read what was printed has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OptionsError(f"{message} (see {self.prog} --help)")


def _parser() -> _Parser:
    parser = _Parser(
        prog="synpose",
        description="Synchronized multi-camera video of people in, 3D keypoints out.",
        epilog=f"example:\n  {estimate.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"synpose {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        summary, _, rest = (command.__doc__ or "").partition("\n")
        sub = commands.add_parser(
            command.__name__.rpartition(".")[2],
            help=summary,
            description=f"{summary}\n{rest.rstrip()}",
            epilog=f"example:\n  {command.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.configure(sub)
        sub.set_defaults(run=command.run)
    return parser


def _version() -> str:
    try:
        return importlib.metadata.version("synpose")
    except importlib.metadata.PackageNotFoundError:
        return "(a source tree that is not installed)"
