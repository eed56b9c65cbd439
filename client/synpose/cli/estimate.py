"""Estimate the 3D joints of the people in synchronized videos.

A video's name without suffix is the name of its camera in the calibration; a folder of numbered images, named like its
camera, is a video too. The output's suffix picks the format: .json, .ndjson, .csv or .trc.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from synpose.calibration import read_calibration
from synpose.cli.extras import needs_extra
from synpose.cli.output import whole_file
from synpose.cli.settings import load_settings
from synpose.errors import CalibrationError, InvalidInput, VideoError
from synpose.formats import FORMATS, Format, format_for_path, ndjson
from synpose.image_sequence import align_folders
from synpose.options import Options
from synpose.pose import Frame, PoseHeader, PoseSequence
from synpose.rig import Rig

__all__ = ["EXAMPLE", "configure", "run"]

EXAMPLE = "synpose estimate --calibration Calib.qca.txt --output people.trc cam01.mp4 cam02.mp4 cam03.mp4"

_OPTIONS = ("model", "skeleton", "max_people", "units", "fps")


class _Answer(Protocol):
    """What an engine here and a server elsewhere give alike."""

    @property
    def header(self) -> PoseHeader: ...
    def __iter__(self) -> Iterator[Frame]: ...


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="video, or folder of numbered images")
    parser.add_argument("--calibration", required=True, type=Path, metavar="FILE", help="calibration of the cameras")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="file to write")
    parser.add_argument("--model", metavar="NAME", help="model to use (default; see `synpose models`)")
    parser.add_argument("--skeleton", metavar="NAME", help="joints to give: coco17, h36m17 or halpe26 (coco17)")
    parser.add_argument("--max-people", type=int, metavar="N", help="people to follow, 1 to 8 (1)")
    parser.add_argument("--units", choices=("m", "cm", "mm"), help="unit of a calibration that does not state its own")
    parser.add_argument("--fps", type=float, metavar="F", help="frame rate in place of the videos' own")
    parser.add_argument("--server", metavar="URL", help="let this server do it (http://... or grpc://...)")


def run(args: argparse.Namespace) -> None:
    form = format_for_path(args.output)
    given = {name: getattr(args, name) for name in _OPTIONS}
    options = Options.from_mapping({name: value for name, value in given.items() if value is not None})
    videos = _by_camera(args.videos)
    rig = _rig(args.calibration, options)
    started = time.monotonic()
    with whole_file(args.output) as file:
        estimate = _here(rig, videos, options) if args.server is None else _there(args.server, rig, videos, options)
        with estimate as answer:
            frames, people = _write(answer, form, file)
            header = answer.header
    seconds = time.monotonic() - started
    print(
        f"{args.output}: {frames} frames, {people} {'person' if people == 1 else 'people'}, {header.skeleton.name},"
        f" by {header.model.name} {header.model.version} in {seconds:.1f} s ({frames / seconds:.1f} frames/s)"
    )


def _by_camera(paths: Iterable[Path]) -> dict[str, Path]:
    """The videos by camera; raises for one that is not there or a camera that has two."""
    videos: dict[str, Path] = {}
    for path in paths:
        camera = path.resolve().name if path.is_dir() else path.stem
        if not path.exists():
            raise VideoError(f"there is no file {path}", field="video", camera=camera)
        if camera in videos:
            raise InvalidInput(f"{videos[camera]} and {path} have the same name", field="video", camera=camera)
        videos[camera] = path
    return videos


def _rig(path: Path, options: Options) -> Rig:
    try:
        return read_calibration(path, units=options.units)
    except CalibrationError as error:
        if error.field != "units":
            raise
        raise CalibrationError(f"{error.message} (--units)", field="units", camera=error.camera) from None


@contextmanager
def _here(rig: Rig, videos: Mapping[str, Path], options: Options) -> Iterator[_Answer]:
    """An estimate by an engine in this process."""
    settings = load_settings()
    with needs_extra("server,cpu"):
        from synpose_server.engine import Engine
        from synpose_server.requests import match_sources
    folders = {camera: path for camera, path in videos.items() if path.is_dir()}
    sources = match_sources(rig, {**videos, **align_folders(folders)})
    with Engine(settings, only=options.model).estimate(rig, sources, options) as estimation:
        yield estimation


@contextmanager
def _there(server: str, rig: Rig, videos: Mapping[str, Path], options: Options) -> Iterator[_Answer]:
    """An estimate by a server."""
    from synpose.client import Client

    with (
        Client(server) as client,
        client.stream(
            videos,
            rig,
            model=options.model,
            skeleton=options.skeleton,
            max_people=options.max_people,
            fps=options.fps,
        ) as stream,
    ):
        yield stream


def _write(answer: _Answer, form: Format, file: BinaryIO) -> tuple[int, int]:
    """Write the answer while it comes, where the format can; how many frames and people there were."""
    streamed = form is FORMATS["ndjson"]
    if streamed:
        file.write(ndjson.encode_header(answer.header))
    kept: list[Frame] = []
    count, ids = 0, set[int]()
    for frame in _shown(answer, getattr(answer, "count", None)):
        count += 1
        ids.update(person.id for person in frame.people)
        if streamed:
            file.write(ndjson.encode_frame(frame))
        else:
            kept.append(frame)
    if not streamed:
        file.write(form.write(PoseSequence(answer.header, kept)))
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
                where = f"camera {notice.camera!r}: " if notice.camera is not None else ""
                console.print(f"note: {where}{notice.message}")
            progress.update(task, completed=count, rate=f"{count / (time.monotonic() - started):.1f}/s")
            yield frame
