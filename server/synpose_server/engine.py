"""The engine behind every door: a rig and one source of images a camera in, frames of people out."""

from __future__ import annotations

import statistics
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

from synpose.calibrated import Calibrated
from synpose.errors import LimitExceeded
from synpose.options import Options
from synpose.pose import Frame, ModelInfo, Notice, PoseHeader, ServedModel
from synpose.rig import Rig
from synpose.skeleton import SKELETONS, get_skeleton
from synpose_model.bundle import BUNDLES, Repository
from synpose_server.answers import Answers
from synpose_server.calibrate.estimate import CalibrationRequest, calibrate
from synpose_server.job import Job
from synpose_server.lanes import Lanes
from synpose_server.models import Models
from synpose_server.pace import Place
from synpose_server.report import ViewReport, rig_notices
from synpose_server.requests import check_offsets, check_views
from synpose_server.runtime import Model, Shared
from synpose_server.settings import Settings
from synpose_server.sources import Source
from synpose_server.stats import Stats
from synpose_server.synchronise import FrameSet, FrameSets
from synpose_server.track import TrackedPerson, Tracker

__all__ = ["Engine", "Estimation"]


class Estimation(Iterator[Frame]):
    """A running estimate: `header` is known at once, frames come as they are computed; close it when done.

    A model that looks ahead answers a frame when that many more were seen, or the clip has ended; an error ends the
    stream at once. `people` are the last frame's people as the tracker sees them, with keypoints and rays, for those
    who measure. `count` is the number of frame sets to expect, where the sources say it.
    """

    def __init__(
        self,
        tracker: Tracker,
        frame_sets: FrameSets,
        header: PoseHeader,
        *,
        timestamps: Sequence[float] | None,
        notices: tuple[Notice, ...],
        max_frames: int,
        place: Place,
    ) -> None:
        self.header, self.rig, self.count = header, tracker.rig, frame_sets.count
        self.people: list[TrackedPerson] = []
        self._tracker, self._frame_sets, self._timestamps = tracker, frame_sets, timestamps
        self._answers = Answers(tracker.model.skeleton, header.skeleton, tracker.rig)
        self._report = ViewReport(tracker.rig.names)
        self._pending, self._max_frames, self._place = notices, max_frames, place
        self._look_ahead = tracker.model.bundle.look_ahead
        self._held: deque[tuple[int, tuple[Notice, ...], list[TrackedPerson]]] = deque()  # seen, not yet answered
        self._ended = False
        self._closing = threading.Lock()
        self._closed = False

    def __next__(self) -> Frame:
        while len(self._held) <= self._look_ahead and not self._ended:
            self._place.job.check()
            self._place.begin()
            self._see(next(self._frame_sets))
            self._place.end()
        if self._closed or not self._held:
            raise StopIteration
        index, notices, self.people = self._held.popleft()
        time = self._timestamps[index] if self._timestamps else index / self.header.fps
        frame = self._answers.frame(index, time, self.people, notices)
        self._report.tell(frame.people)
        if self._ended and not self._held:
            return replace(frame, notices=(*notices, *self._report.notices()))
        return frame

    def _see(self, frame_set: FrameSet) -> None:
        """Take in the next frame set. Of those that wait for their answer no image is kept."""
        if frame_set.index >= self._max_frames:
            raise _too_long(self._max_frames)  # what no container had told
        people = self._tracker.step(frame_set.images)
        self._report.add(frame_set, list(map(self._answers.views, people)))
        notices = (*self._pending, *frame_set.notices)
        self._pending = ()
        if frame_set.is_last:
            self._tracker.check_scale()
            self._ended = True
        self._held.append((frame_set.index, notices, people))

    def close(self) -> None:
        """Stop decoding; safe to call twice, and from another thread."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._frame_sets.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Engine:
    """Loaded models and the road from sources to frames. Thread-safe; its calls block, so doors run them in threads.

    Making one loads and runs every bundle of the repository, or the one called `only`; raises `BundleError` for one
    that is broken, `NotFound` for a name that is not there.
    """

    def __init__(self, settings: Settings, only: str | None = None) -> None:
        self.settings = settings
        self.stats = Stats()
        shared: Shared = WeakValueDictionary()
        lanes = Lanes(settings.graph_threads)
        self.served = Models(
            Repository(settings.models or BUNDLES),
            lambda bundle: Model(bundle, settings.provider, lanes, self.stats, shared),
            only,
        )

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """What can be asked for by `Options.model`; `default` stands for the one marked so."""
        return tuple(
            ServedModel(
                name=name,
                version=model.bundle.version,
                description=model.bundle.description,
                skeletons=tuple(SKELETONS),
                is_default=name == self.served.repository.default,
            )
            for name, model in self.served.items()
        )

    def model(self, name: str) -> Model:
        """The model called `name` (or `default`) as it is served now; raises `NotFound`."""
        return self.served[name]

    def name_of(self, model: str) -> str:
        """The name of the bundle that `model`, or `default`, stands for; raises `NotFound`."""
        return self.model(model).bundle.name

    def estimate(
        self,
        rig: Rig,
        sources: Mapping[str, Source],
        options: Options,
        timestamps: Sequence[float] | None = None,
        place: Place | None = None,
        told: bool = True,
    ) -> Estimation:
        """Start an estimate; raises from `synpose.errors` for input that cannot be used, naming field and camera.

        `sources` must name cameras of `rig`, as many as the model needs: two, or one for some. `timestamps` are the
        capture times of the frame sets in seconds, where the request gives them; with offsets, of those that result.
        `place` is what admission gave: its job ends the estimate, and it learns how fast that goes. Where not `told`, a
        network that could be is not told where joints are expected, so that what it says of a view is of that view
        alone.
        """
        place = Place(Job(), len(sources)) if place is None else place
        place.begin()
        model = self.model(options.model)
        check_views(rig, sources, model.bundle.min_views)
        check_offsets(rig, options)
        calibrated, rig = rig, rig.subset(tuple(sources))
        if len(rig) > self.settings.max_cameras:
            raise LimitExceeded(f"more than {self.settings.max_cameras} cameras", field="calibration")
        frame_sets = FrameSets(sources, self.settings.max_pixels, options.fps, place.job, options.offsets)
        try:
            if all(r.count and r.count - r.skip > self.settings.max_frames for r in frame_sets.readers):
                raise _too_long(self.settings.max_frames)
            place.expect(frame_sets.count)
            told_rate = options.fps or _rate(timestamps)
            fps = told_rate or frame_sets.fps
            rig = Rig(tuple(c.resized(r.size) for c, r in zip(rig, frame_sets.readers, strict=True)))
            notices = rig_notices(calibrated, rig)
            if frame_sets.assumed and not told_rate and frame_sets.count != 1:
                message = f"nothing says the frame rate: {fps:g} a second are assumed; the option fps tells it"
                notices = (*notices, Notice("assumed-rate", message))
            left_out = {reader.camera: reader.skip for reader in frame_sets.readers if reader.skip}
            for camera, images in left_out.items():
                message = f"so many images at its start precede those of another camera: {images} left out"
                notices = (*notices, Notice("left-out", message, camera))
            info = ModelInfo(model.bundle.name, model.bundle.version)
            header = PoseHeader(info, get_skeleton(options.skeleton), fps, left_out=left_out)
            return Estimation(
                Tracker(model.bound(place.job), rig, options.max_people, told),
                frame_sets,
                header,
                timestamps=timestamps,
                notices=notices,
                max_frames=self.settings.max_frames,
                place=place,
            )
        except BaseException:
            frame_sets.close()
            raise

    def calibrate(
        self,
        request: CalibrationRequest,
        job: Job | None = None,
        progress: Callable[[int, int | None], None] = lambda done, total: None,
    ) -> Calibrated:
        """The cameras that filmed one person; raises as `calibrate.calibrate`, and `Job.check` once `job` is over."""
        job = Job() if job is None else job

        def step(done: int, total: int | None) -> None:
            job.check()
            progress(done, total)

        return calibrate(self.model(request.options.model).bound(job), request, self.settings, step)


def _rate(timestamps: Sequence[float] | None) -> float | None:
    """Frame sets a second, as the capture times say it."""
    if timestamps is None or len(timestamps) < 2:
        return None
    return 1 / statistics.median(later - earlier for earlier, later in pairwise(timestamps))


def _too_long(most: int) -> LimitExceeded:
    return LimitExceeded(f"the clip has more than {most} frames", field="video")
