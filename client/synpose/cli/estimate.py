"""Estimate the 3D joints of the people in synchronized videos.

A video's name without suffix is the name of its camera in the calibration; a folder of numbered images, named like its
camera, is a video too. The output's suffix picks the format: .json, .ndjson, .csv, .parquet, .npz, .trc, .c3d, .bvh,
.glb or .rrd. A .trc or .bvh holds one person; those of others go beside it, with their ids in their names.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from synpose.cli import server
from synpose.cli.clip import Clip, add_arguments, read_clip
from synpose.cli.extras import needs_extra
from synpose.cli.output import whole_file
from synpose.cli.settings import load_settings
from synpose.formats import FORMATS, Format, files_of, format_for_path, ndjson
from synpose.formats.upright import UP_AXES, Up
from synpose.pose import Frame, PoseHeader, PoseSequence

__all__ = ["EXAMPLE", "configure", "run"]

EXAMPLE = "synpose estimate --calibration Calib.qca.txt --output people.trc cam01.mp4 cam02.mp4 cam03.mp4"


class _Answer(Protocol):
    """What an engine here and a server elsewhere give alike."""

    @property
    def header(self) -> PoseHeader: ...
    def __iter__(self) -> Iterator[Frame]: ...


def configure(parser: argparse.ArgumentParser) -> None:
    add_arguments(parser)
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="file to write")
    parser.add_argument("--skeleton", metavar="NAME", help="joints to give: coco17, h36m17, halpe26 or body27 (coco17)")
    parser.add_argument(
        "--up", choices=UP_AXES, metavar="AXIS", help="axis of the world that points up: x, y, z, -x, -y, -z (guessed)"
    )
    parser.add_argument("--max-people", type=int, metavar="N", help="people to follow, 1 to 8 (1)")
    server.add_arguments(parser, "let this server do it")


def run(args: argparse.Namespace) -> None:
    form = format_for_path(args.output)
    form.check()
    clip = read_clip(args)
    started = time.monotonic()
    with whole_file(args.output) as write:
        estimate = _here(clip) if args.server is None else _there(args, clip)
        with estimate as answer:
            frames, people = _write(answer, form, write, args.output, args.up)
            header = answer.header
    seconds = time.monotonic() - started
    print(
        f"{args.output}: {frames} frames, {people} {'person' if people == 1 else 'people'}, {header.skeleton.name},"
        f" by {header.model.name} {header.model.version} in {seconds:.1f} s ({frames / seconds:.1f} frames/s)"
    )


@contextmanager
def _here(clip: Clip) -> Iterator[_Answer]:
    """An estimate by an engine in this process."""
    settings = load_settings()
    sources = clip.sources(settings)
    with needs_extra("server,cpu"):
        from synpose_server.engine import Engine
    with Engine(settings, only=clip.options.model).estimate(clip.rig, sources, clip.options) as estimation:
        yield estimation


@contextmanager
def _there(args: argparse.Namespace, clip: Clip) -> Iterator[_Answer]:
    """An estimate by a server."""
    with (
        server.connect(args) as client,
        client.stream(
            clip.videos,
            clip.rig,
            model=clip.options.model,
            skeleton=clip.options.skeleton,
            max_people=clip.options.max_people,
            fps=clip.options.fps,
            offsets=clip.options.offsets,
        ) as stream,
    ):
        yield stream


def _write(
    answer: _Answer, form: Format, write: Callable[[bytes], None], output: Path, up: Up | None
) -> tuple[int, int]:
    """Write the answer while it comes, where the format can; how many frames and people there were.

    `write` writes `output`; people who need files of their own get them beside it.
    """
    streamed = form is FORMATS["ndjson"]
    if streamed:
        write(ndjson.encode_header(answer.header))
    kept: list[Frame] = []
    count, ids = 0, set[int]()
    for frame in _shown(answer, getattr(answer, "count", None)):
        count += 1
        ids.update(person.id for person in frame.people)
        if streamed:
            write(ndjson.encode_frame(frame))
        else:
            kept.append(frame)
    if not streamed:
        sequence = PoseSequence(answer.header, kept)
        (_, first), *others = files_of(form, sequence, output)
        write(form.write(sequence, up, first))
        for file, person in others:
            with whole_file(file) as write_other:
                write_other(form.write(sequence, up, person))
    return count, len(ids)


def _shown(frames: Iterable[Frame], total: int | None) -> Iterator[Frame]:
    """The frames, with a progress bar for who sits at a terminal, and every notice when it comes."""
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    columns = (
        BarColumn(),
        TextColumn("{task.completed} frames"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=total, rate="")
        started = time.monotonic()
        for count, frame in enumerate(frames, 1):
            for notice in frame.notices:
                console.print(f"note: {notice}")
            progress.update(task, completed=count, rate=f"{count / (time.monotonic() - started):.1f}/s")
            yield frame
