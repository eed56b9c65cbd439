"""From assembled frame sets to frames of people, in order: the blocking part of a live stream."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from synpose.errors import InvalidInput, OptionsError
from synpose.options import Options
from synpose.pose import Frame, ModelInfo, Notice, PoseHeader
from synpose.rig import Rig
from synpose.skeleton import get_skeleton
from synpose_model.image import Image
from synpose_server.answers import Answers
from synpose_server.decode import read_image
from synpose_server.engine import Engine
from synpose_server.job import Job
from synpose_server.live.assemble import PendingSet
from synpose_server.observe import measure
from synpose_server.track import TrackedPerson, Tracker

__all__ = ["Posed", "Poser"]

_FPS = 30.0  # of the header, where no option says it
_STEPPED = (
    "the clocks of the cameras stepped backwards: timestamps begin again before those of earlier results, and the"
    " images that came meanwhile were left out as late"
)


@dataclass(eq=False)
class Posed:
    """A frame set on its way, with when each step was done (`time.monotonic`); it keeps no image."""

    taken: PendingSet
    missing: tuple[str, ...]
    notices: tuple[Notice, ...]
    people: list[TrackedPerson]
    begun: float
    decoded: float
    computed: float
    frame: Frame | None = None
    answered: float = 0.0


class Poser:
    """Follows the people of one stream; its calls block and come from one thread at a time. `job` cancels them.

    Raises what the first images show to be wrong with calibration or options, as clips do: `CalibrationError`,
    `LimitExceeded`, `OptionsError`.
    """

    def __init__(self, engine: Engine, rig: Rig, options: Options, look_ahead: int, decoding: Executor) -> None:
        self.job = Job()
        model = engine.model(options.model).bound(self.job)
        bundle = model.bundle
        if look_ahead > bundle.look_ahead:
            raise OptionsError(
                f"{bundle.name} looks at most {bundle.look_ahead} frame sets ahead", field="policy.look_ahead"
            )
        if len(rig) < bundle.min_views:
            raise InvalidInput(f"at least {bundle.min_views} cameras are needed", field="policy.cameras")
        skeleton = get_skeleton(options.skeleton)
        self.header = PoseHeader(ModelInfo(bundle.name, bundle.version), skeleton, options.fps or _FPS)
        self.corrupt = 0
        self._tracker = Tracker(model, rig, options.max_people)
        self._answers = Answers(model.skeleton, skeleton, rig)
        self._look_ahead, self._decoding, self._max_pixels = look_ahead, decoding, engine.settings.max_pixels
        self._sizes: dict[str, tuple[int, int]] = {}  # of the cameras that have sent an image
        self._held: deque[Posed] = deque()  # seen, not yet answered
        self._next = 0

    def step(self, taken: PendingSet) -> list[Posed]:
        """What can be answered after the next frame set."""
        begun = time.monotonic()
        images, notices = self._decode(taken)
        if taken.starts_over:
            notices = (*notices, Notice("clock-stepped", _STEPPED))
        decoded = time.monotonic()
        people = self._tracker.step(images)
        missing = tuple(name for name, image in zip(self._tracker.rig.names, images, strict=True) if image is None)
        measure("skew", taken.skew)
        taken.images.clear()
        self._held.append(Posed(taken, missing, notices, people, begun, decoded, time.monotonic()))
        return self._answer() if len(self._held) > self._look_ahead else []

    def finish(self) -> list[Posed]:
        """What is still to be answered when no frame set follows."""
        self._tracker.check_scale()
        return [posed for _ in range(len(self._held)) for posed in self._answer()]

    def _answer(self) -> list[Posed]:
        posed = self._held.popleft()
        posed.frame = self._answers.frame(self._next, posed.taken.time, posed.people, posed.notices)
        posed.people, posed.answered = [], time.monotonic()
        self._next += 1
        return [posed]

    def _decode(self, taken: PendingSet) -> tuple[list[Image | None], tuple[Notice, ...]]:
        """The images in the order of the rig; a camera whose image cannot be used is missing, and a notice says why.

        Those that no thread for decoding has begun are decoded here: under load, to hand them over costs more.
        """
        names = self._tracker.rig.names
        given = [(name, taken.images[name], self._max_pixels) for name in names if name in taken.images]
        later = [self._decoding.submit(read_image, *sent) for sent in given[1:]]
        decoded = {sent[0]: read_image(*sent) for sent in given[:1]}
        for sent, future in zip(given[1:], later, strict=True):
            decoded[sent[0]] = read_image(*sent) if future.cancel() else future.result()
        images: list[Image | None] = []
        notices = []
        for name in names:
            image = decoded.get(name)
            if name in decoded and image is None:
                self.corrupt += 1
                notices.append(Notice("corrupt-image", "the image is no JPEG or PNG, or a broken one", name))
            if image is not None and self._sizes.setdefault(name, image.size) != image.size:
                width, height = self._sizes[name]
                message = f"the image is {image.size[0]}×{image.size[1]}, those before were {width}×{height}"
                notices.append(Notice("image-size", message, name))
                image = None
            images.append(image)
        self._fit_rig()
        return images, tuple(notices)

    def _fit_rig(self) -> None:
        """Bring each camera to the size of its images; raises `CalibrationError` where that cannot be."""
        rig = self._tracker.rig
        if any(camera.size != self._sizes.get(camera.name, camera.size) for camera in rig):
            cameras = (camera.resized(self._sizes.get(camera.name, camera.size)) for camera in rig)
            self._tracker.rig = replace(rig, cameras=tuple(cameras))
