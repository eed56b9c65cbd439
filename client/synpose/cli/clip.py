"""A clip on the command line: the videos, their calibration and the options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from synpose.calibration import read_calibration
from synpose.cli.extras import needs_extra
from synpose.errors import CalibrationError, InvalidInput, OptionsError, VideoError
from synpose.image_sequence import align_folders, camera_of
from synpose.options import Options
from synpose.rig import Rig

if TYPE_CHECKING:
    from synpose_server.settings import Settings
    from synpose_server.sources import Source

__all__ = ["Clip", "add_arguments", "by_camera", "read_clip"]


@dataclass(frozen=True)
class Clip:
    """What was asked for: a rig, a video (file, or folder of numbered images) by camera, and options."""

    rig: Rig
    videos: Mapping[str, Path]
    options: Options

    def sources(self, settings: Settings) -> Mapping[str, Source]:
        """The videos as an engine in this process takes them; raises as a server would."""
        with needs_extra("server,cpu"):
            from synpose_server.requests import check_offsets, match_sources
        check_offsets(self.rig, self.options)
        folders = {camera: path for camera, path in self.videos.items() if path.is_dir()}
        return match_sources(self.rig, {**self.videos, **align_folders(folders)}, settings)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that `read_clip` reads, on `parser`."""
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="video, or folder of numbered images")
    parser.add_argument("--calibration", required=True, type=Path, metavar="FILE", help="calibration of the cameras")
    parser.add_argument("--model", metavar="NAME", help="model to use (default; see `synpose models`)")
    parser.add_argument("--units", choices=("m", "cm", "mm"), help="unit of a calibration that does not state its own")
    parser.add_argument("--fps", type=float, metavar="F", help="frame rate in place of the videos' own")
    parser.add_argument(
        "--offset", dest="offsets", action="append", type=_offset, metavar="CAMERA=FRAMES",
        help="frames by which the video of a camera is ahead, as `synpose calibrate` tells (0); may be repeated",
    )  # fmt: skip


def read_clip(args: argparse.Namespace) -> Clip:
    """The clip that `args` describe; raises from `synpose.errors` for what cannot be used."""
    given = {field.name: getattr(args, field.name, None) for field in fields(Options)}
    if given["offsets"] is not None:
        given["offsets"] = _by_camera(given["offsets"])
    options = Options.from_mapping({name: value for name, value in given.items() if value is not None})
    videos = by_camera(args.videos)
    try:
        rig = read_calibration(args.calibration, units=options.units)
    except CalibrationError as error:
        if error.field != "units":
            raise
        raise CalibrationError(f"{error.message} (--units)", field="units", camera=error.camera) from None
    return Clip(rig, videos, options)


def _offset(text: str) -> tuple[str, float]:
    """`cam02=6.86`: the camera and its frames."""
    camera, _, frames = text.rpartition("=")
    try:
        if camera:
            return camera, float(frames)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"give a camera and its frames, as in cam02=6.86, not {text!r}")


def _by_camera(offsets: Sequence[tuple[str, float]]) -> dict[str, float]:
    found = dict(offsets)
    for camera in found:
        if sum(name == camera for name, _ in offsets) > 1:
            raise OptionsError("two offsets were given for this camera", field="offsets", camera=camera)
    return found


def by_camera(paths: Iterable[Path]) -> dict[str, Path]:
    """The videos by camera; raises for one that is not there or a camera that has two."""
    videos: dict[str, Path] = {}
    for path in paths:
        camera = camera_of(path)
        if not path.exists():
            raise VideoError(f"there is no file {path}", field="video", camera=camera)
        if camera in videos:
            raise InvalidInput(f"{videos[camera]} and {path} have the same name", field="video", camera=camera)
        videos[camera] = path
    return videos
