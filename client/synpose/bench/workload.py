"""What is sent: frame sets of encoded images, one after another, over and over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from synpose.calibration import write_calibration
from synpose.errors import InvalidInput
from synpose.options import Options
from synpose.rig import Rig

__all__ = ["Workload"]


@dataclass(frozen=True)
class Workload:
    """Frame sets (JPEG or PNG images by camera) of `rig` and the options that go with them.

    `fps` is their rate where they are played as cameras do. `jitter` is how long an image is on its way to the client,
    in seconds at random up to that much; `drop` the probability that it never comes there.
    """

    rig: Rig
    frame_sets: Sequence[Mapping[str, bytes]]
    options: Options = field(default_factory=Options)
    fps: float = 30.0
    jitter: float = 0.0
    drop: float = 0.0

    def __post_init__(self) -> None:
        if not self.frame_sets:
            raise InvalidInput("there is no frame set to send", field="frame_sets")
        for name, good in (("fps", self.fps > 0), ("jitter", self.jitter >= 0), ("drop", 0 <= self.drop < 1)):
            if not good:
                raise InvalidInput(f"{name} cannot be {getattr(self, name):g}", field=name)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Those that send."""
        return tuple(self.frame_sets[0])

    @property
    def calibration(self) -> dict[str, bytes]:
        """The rig as a file, as requests hold it."""
        return {"calibration.json": write_calibration(self.rig).encode()}

    def frame_set(self, number: int, chance: Random) -> dict[str, bytes]:
        """The images of the `number`th instant, some of them dropped; never less than two."""
        images = dict(self.frame_sets[number % len(self.frame_sets)])
        for camera in [camera for camera in images if self.drop and chance.random() < self.drop]:
            if len(images) > 2:
                del images[camera]
        return images
