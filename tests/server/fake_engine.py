"""A known answer at the engine's seam, so that the doors are tested without models."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from synpose.errors import NotFound, VideoError
from synpose.options import Options
from synpose.pose import Frame, ModelInfo, Notice, Person, PoseHeader, ServedModel
from synpose.rig import Rig
from synpose.skeleton import get_skeleton
from synpose_server.engine import Engine, Estimation
from synpose_server.pace import Place
from synpose_server.requests import check_views
from synpose_server.settings import Settings
from synpose_server.sources import Source
from synpose_server.stats import Stats
from synpose_server.synchronise import skips

__all__ = ["FakeEngine", "Received"]

Content = bytes | list[bytes | None]


@dataclass(frozen=True)
class Received:
    """What an estimate was asked, its sources read out."""

    cameras: tuple[str, ...]
    sources: dict[str, Content]
    options: Options
    timestamps: tuple[float, ...] | None


@dataclass
class FakeEngine(Engine):
    """Answers `frames` frames (or one a timestamp) with `people`, the k-th at (index, k, 1).

    A source that holds `broken` is a `VideoError` at once; `fails_at` raises `failure` at that frame. Frames from
    `holds_at` on wait until `go` is set.
    """

    settings: Settings = field(default_factory=Settings)
    frames: int = 3
    people: int = 1
    fails_at: int | None = None
    failure: Exception = field(default_factory=lambda: VideoError("the file ends early", field="video", camera="cam02"))
    holds_at: int | None = None
    loaded: bool = True

    def __post_init__(self) -> None:
        self.go = threading.Event()
        self.closed = threading.Event()
        self.received: list[Received] = []
        self.stats = Stats()
        self.places: list[Place | None] = []

    @property
    def models(self) -> tuple[ServedModel, ...]:
        return (ServedModel("fake", "7", "Known answers", ("coco17", "h36m17"), True),) if self.loaded else ()

    def name_of(self, model: str) -> str:
        if model not in ("default", "fake"):
            raise NotFound(f"no model {model!r}; there are fake", field="options.model")
        return "fake"

    def estimate(
        self,
        rig: Rig,
        sources: Mapping[str, Source],
        options: Options,
        timestamps: Sequence[float] | None = None,
        place: Place | None = None,
        told: bool = True,
    ) -> Estimation:
        self.name_of(options.model)
        check_views(rig, sources, 2)
        contents = {camera: _read(source) for camera, source in sources.items()}
        for camera, content in contents.items():
            if content == b"broken":
                raise VideoError("this is no video", field="video", camera=camera)
        self.places.append(place)
        self.received.append(Received(rig.names, contents, options, tuple(timestamps) if timestamps else None))
        return _FakeEstimation(self, rig, options, timestamps)


class _FakeEstimation(Estimation):
    def __init__(self, engine: FakeEngine, rig: Rig, options: Options, timestamps: Sequence[float] | None) -> None:
        skeleton, fps = get_skeleton(options.skeleton), options.fps or 30.0
        left_out = {camera: images for camera, images in skips(rig.names, options.offsets).items() if images}
        self.header = PoseHeader(ModelInfo("fake", "7"), skeleton, fps, left_out=left_out)
        self._engine = engine
        self._cameras = rig.names
        self._timestamps = timestamps
        self._index = 0
        self._closed = False

    def __next__(self) -> Frame:
        engine, index = self._engine, self._index
        if engine.holds_at is not None and index >= engine.holds_at:
            assert engine.go.wait(10), "nobody let the engine go on"
        if index == engine.fails_at:
            raise engine.failure
        frames = len(self._timestamps) if self._timestamps else engine.frames
        if self._closed or index >= frames:
            raise StopIteration
        self._index += 1
        people = []
        for k in range(engine.people):
            joints = np.tile((float(index), float(k), 1.0), (len(self.header.skeleton), 1))
            sigma = np.full(len(self.header.skeleton), 0.02)
            joints[-1], sigma[-1] = np.nan, np.nan
            people.append(Person(k, 0.9, joints, sigma, self._cameras))
        time = self._timestamps[index] if self._timestamps else index / self.header.fps
        notices = (Notice("view-missing", "no image", "cam02"),) if index == 1 else ()
        return Frame(index, time, tuple(people), notices)

    def close(self) -> None:
        self._closed = True
        self._engine.closed.set()
        self._engine.go.set()


def _read(source: Source) -> Content:
    if isinstance(source, Path):
        return source.read_bytes()
    if isinstance(source, Sequence):
        return [item.read_bytes() if isinstance(item, Path) else item for item in source]
    return source.read()
