"""Measure answers: of a clip without knowing the truth, of rendered clips or simulated rays against it."""

from __future__ import annotations

import argparse

from synpose.cli import evaluate_clip, evaluate_rays, evaluate_rendered

__all__ = ["EXAMPLE", "configure", "run"]

EXAMPLE = f"{evaluate_clip.EXAMPLE}\n  {evaluate_rendered.EXAMPLE}\n  {evaluate_rays.EXAMPLE}"

_KINDS = {"clip": evaluate_clip, "rendered": evaluate_rendered, "rays": evaluate_rays}


def configure(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(title="what to evaluate", metavar="WHAT", required=True, dest="what")
    for name, kind in _KINDS.items():
        summary, _, rest = (kind.__doc__ or "").partition("\n")
        sub = kinds.add_parser(
            name,
            help=summary,
            description=f"{summary}\n{rest.rstrip()}",
            epilog=f"example:\n  {kind.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        kind.configure(sub)


def run(args: argparse.Namespace) -> None:
    _KINDS[args.what].run(args)
