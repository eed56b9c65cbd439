"""What must not stay hidden: cameras left out, trimmed, dark or without a person, and answers that are half a guess."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from synpose.pose import Notice, Person
from synpose.rig import Rig
from synpose_model.image import Image
from synpose_server.synchronise import FrameSet

__all__ = ["ViewReport", "rig_notices"]

_NAMED = 8  # cameras that a notice names one by one
_DOUBT = 0.25  # metres: a median sigma that cameras which belong together do not have
_BLACK = 24  # brightest luma that still counts as black; video black is 16


def rig_notices(calibrated: Rig, used: Rig) -> tuple[Notice, ...]:
    """What the cameras `used`, sized as their videos, lack against the calibration."""
    notices = []
    missing = [name for name in calibrated.names if name not in used.names]
    if missing:
        message = f"nothing was sent for {', '.join(missing[:_NAMED])}{' and others' * (len(missing) > _NAMED)}; "
        message += "the cameras that were sent were used"
        notices.append(Notice("missing-camera", message, missing[0] if len(missing) == 1 else None))
    for camera in used:
        before, now = calibrated[camera.name], camera
        if now.size != before.size:
            adapted = "its intrinsics were scaled" if (now.K != before.K).any() else "taken as trimmed at the edge"
            message = (
                f"the images are {now.size[0]}×{now.size[1]} but the calibration was made for "
                f"{before.size[0]}×{before.size[1]}; {adapted}"
            )
            notices.append(Notice("image-size", message, camera.name))
    return tuple(notices)


_TOGETHER = "do the names of the cameras, the calibration and the starts of the videos belong together?"
_UNSEEN = "does not show the person clearly, or elsewhere than the others do (name, calibration, start of the video?),"


class ViewReport:
    """Counts, camera by camera, the frame sets to which a view could not contribute, and why; how sure answers are."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._missing: Counter[str] = Counter()
        self._black: Counter[str] = Counter()
        self._unseen: Counter[str] = Counter()
        self._frames = self._answered = 0
        self._sigmas: list[float] = []  # the median joint's, of every person and frame

    def add(self, frame_set: FrameSet, people: Sequence[Sequence[str]]) -> None:
        """Count one frame set; `people` are the cameras that were used for each person who was found in it."""
        self._frames += 1
        self._answered += bool(people)
        used = {view for views in people for view in views}
        for name, image in zip(self._names, frame_set.images, strict=True):
            if image is None:
                self._missing[name] += 1
            elif name not in used and _is_black(image):
                self._black[name] += 1
            elif name not in used and people:
                self._unseen[name] += 1

    def tell(self, people: Sequence[Person]) -> None:
        """Take in the answer of a frame set."""
        self._sigmas += [float(np.median(p.sigma[known])) for p in people if (known := np.isfinite(p.sigma)).any()]

    def notices(self) -> tuple[Notice, ...]:
        """What the clip showed so far."""
        notices = []
        for name in self._names:
            for code, counter, what in (
                ("missing-images", self._missing, "has no readable image"),
                ("black-images", self._black, "is black"),
                ("unseen-views", self._unseen, _UNSEEN),
            ):
                if count := counter[name]:
                    message = f"this camera {what} in {count} of {self._frames} frame sets"
                    notices.append(Notice(code, message, name))
        if self._answered < self._frames:
            lost = self._frames - self._answered
            by_two = " by two cameras" if len(self._names) > 1 else ""
            message = f"nobody was seen well enough{by_two} in {lost} of {self._frames} frame sets"
            notices.append(Notice("nobody-found", message))
        sigma = float(np.median(self._sigmas)) if self._sigmas else 0.0
        if len(self._names) == 1 and self._sigmas:
            message = f"one camera does not tell how far away people are: that is a guess (sigma {sigma:.2f} m)"
            notices.append(Notice("one-camera", message))
        elif sigma > _DOUBT:
            message = f"half of all joints are uncertain by more than {sigma:.2f} m; {_TOGETHER}"
            notices.append(Notice("uncertain", message))
        return tuple(notices)


def _is_black(image: Image) -> bool:
    luma = image.planes[0][::16, ::16]
    return bool(luma.max() <= _BLACK)
