"""Rendered clips as they are read back: what cameras filmed, and where every joint truly was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synpose.calibration import read_calibration
from synpose.errors import InvalidInput
from synpose.rig import Rig
from synpose.skeleton import BODY27

__all__ = ["RenderedClip", "read_clips"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RenderedClip:
    """A folder of `synpose render clips`.

    `joints` `(T, 27, 3)` are `BODY27`'s, metres, world, NaN where the file has no such joint; `visibility` `(V, T, 27)`
    is 0 not in the image, 1 hidden, 2 visible, by camera of `rig`; `videos` are by camera. All that is the first
    person's; `others` are the joints of those who walk around them. `alone` are clips of each of them without the rest,
    where they were drawn.
    """

    name: str
    rig: Rig
    videos: Mapping[str, Path]
    joints: Array
    visibility: NDArray[np.uint8]
    fps: float
    motion: str
    child: bool
    others: tuple[Array, ...] = ()
    alone: tuple[RenderedClip, ...] = ()

    @property
    def people(self) -> tuple[Array, ...]:
        """Everyone's joints."""
        return (self.joints, *self.others)

    @classmethod
    def read(cls, folder: Path) -> RenderedClip:
        """The clip in `folder`; raises `InvalidInput` that says what is wrong with it."""

        def fail(reason: str) -> InvalidInput:
            return InvalidInput(f"{folder}: {reason}", field="clips")

        try:
            with np.load(folder / "truth.npz") as truth:
                names = [str(name) for name in truth["names"]]
                given, seen = truth["joints"].astype(np.float64), truth["visibility"].astype(np.uint8)
                cameras = [str(name) for name in truth["cameras"]]
                others = truth["others"].astype(np.float64) if "others" in truth else np.zeros((0, *given.shape))
                fps, motion, child = float(truth["fps"]), str(truth["motion"]), bool(truth["child"])
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise fail(f"truth.npz cannot be read ({error})") from error
        if unknown := sorted(set(names) - set(BODY27.joints)):
            raise fail(f"truth.npz has joints that no skeleton here has: {', '.join(unknown)}")
        frames = len(given)
        if given.shape != (frames, len(names), 3) or seen.shape != (len(cameras), frames, len(names)) or not frames:
            raise fail(f"truth.npz has {given.shape} joints and {seen.shape} visibilities for {len(names)} names")
        if others.shape[1:] != given.shape:
            raise fail(f"truth.npz has {others.shape} joints of others for {given.shape} of the first person")
        videos = {camera: folder / f"{camera}.mp4" for camera in cameras}
        if missing := [path.name for path in (*videos.values(), folder / "calibration.json") if not path.is_file()]:
            raise fail(f"{', '.join(missing)} is missing")
        at = [BODY27.joints.index(name) for name in names]
        people = np.full((1 + len(others), frames, len(BODY27), 3), np.nan)
        visibility = np.zeros((len(cameras), frames, len(BODY27)), np.uint8)
        people[:, :, at], visibility[..., at] = np.concatenate((given[None], others)), seen
        rig = read_calibration(folder / "calibration.json").subset(cameras)
        alone = tuple(cls.read(path.parent) for path in sorted(folder.glob("alone/*/truth.npz")))
        return cls(folder.name, rig, videos, people[0], visibility, fps, motion, child, tuple(people[1:]), alone)

    def subset(self, cameras: tuple[str, ...]) -> RenderedClip:
        """The same clip as only `cameras` filmed it."""
        rows = [self.rig.names.index(camera) for camera in cameras]
        return RenderedClip(
            self.name,
            self.rig.subset(cameras),
            {camera: self.videos[camera] for camera in cameras},
            self.joints,
            self.visibility[rows],
            self.fps,
            self.motion,
            self.child,
            self.others,
            tuple(clip.subset(cameras) for clip in self.alone),
        )


def read_clips(folder: Path) -> list[RenderedClip]:
    """The clips in `folder`, by name; raises `InvalidInput` where there are none."""
    clips = [RenderedClip.read(path.parent) for path in sorted(folder.glob("*/truth.npz"))]
    if not clips:
        raise InvalidInput(f"no rendered clip in {folder}: no folder in it has a truth.npz", field="clips")
    return clips
