"""The words of a live stream: what a client says, what the server answers, and the policy that both agree on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

from synpose.errors import OptionsError
from synpose.options import Options, is_number
from synpose.pose import Frame, PoseHeader

__all__ = [
    "Ack",
    "Capture",
    "End",
    "Ended",
    "FromServer",
    "Latency",
    "LivePose",
    "Opened",
    "Received",
    "Resume",
    "Start",
    "StreamCounters",
    "StreamPolicy",
    "ToServer",
]

MAX_WAIT = 60.0
"""Longest `max_wait` in seconds."""


@dataclass(frozen=True)
class StreamPolicy:
    """What a live stream does with time. Raises `OptionsError` for an unusable value.

    `mode`: `latest` computes the newest frame set and drops those that it has overtaken; `every` computes all.
    `on_missing`: a frame set that lacks images is computed with what there is (`partial`) or dropped (`drop`) when the
    cameras that it lacks have gone on, at the latest after `max_wait` seconds; `wait` always gives them these seconds.
    `sync_window`: seconds between images of one frame set; None is half of the interval between frames.
    `look_ahead`: frame sets of the future that an answer waits for. `clock`: `align` takes the constant offsets between
    the cameras' clocks out of the timestamps. `cameras`: those that will send; none named means all of the calibration.
    """

    mode: Literal["latest", "every"] = "latest"
    on_missing: Literal["partial", "drop", "wait"] = "partial"
    max_wait: float = 0.1
    sync_window: float | None = None
    look_ahead: int = 0
    clock: Literal["trust", "align"] = "trust"
    cameras: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, allowed in (
            ("mode", ("latest", "every")),
            ("on_missing", ("partial", "drop", "wait")),
            ("clock", ("trust", "align")),
        ):
            if getattr(self, name) not in allowed:
                raise _unusable(name, f"one of {', '.join(allowed)}")
        if not is_number(self.max_wait) or not 0 <= self.max_wait <= MAX_WAIT:
            raise _unusable("max_wait", f"a number of seconds from 0 to {MAX_WAIT:g}")
        if self.sync_window is not None and not (is_number(self.sync_window) and 0 <= self.sync_window <= 1):
            raise _unusable("sync_window", "a number of seconds from 0 to 1")
        if type(self.look_ahead) is not int or self.look_ahead < 0:
            raise _unusable("look_ahead", "a whole number of frame sets")
        if not isinstance(self.cameras, tuple) or not all(isinstance(name, str) for name in self.cameras):
            raise _unusable("cameras", "a list of names, in Python a tuple")
        if len(set(self.cameras)) < len(self.cameras):
            raise _unusable("cameras", "a list of different names")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> StreamPolicy:
        """A policy from parsed JSON; an unknown key raises `OptionsError` that lists the known ones."""
        if not isinstance(values, Mapping):
            raise OptionsError("the policy must be a JSON object", field="policy")
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise OptionsError(f"the policy has no {key!r:.80}; there are {', '.join(known)}", field="policy")
        given = dict(values)
        if isinstance(given.get("cameras"), list):
            given["cameras"] = tuple(given["cameras"])
        return cls(**given)


def _unusable(name: str, what: str) -> OptionsError:
    return OptionsError(f"{name} must be {what}", field=f"policy.{name}")


@dataclass(frozen=True)
class Start:
    """Open a session for a calibration: its files, or the hash of one that was uploaded.

    Raises `OptionsError` for `offsets`: it is by their timestamps that a stream pairs images.
    """

    calibration: Mapping[str, bytes] | str
    options: Options = field(default_factory=Options)
    policy: StreamPolicy = field(default_factory=StreamPolicy)

    def __post_init__(self) -> None:
        if self.options.offsets is not None:
            raise OptionsError(
                "offsets are for recordings; a live stream pairs images by their timestamps: correct those instead",
                field="options.offsets",
            )


@dataclass(frozen=True)
class Resume:
    """Go on with a session; `last_sequence` is that of the last result that was received, None if none was."""

    token: str
    last_sequence: int | None = None


@dataclass(frozen=True)
class Capture:
    """Encoded images by camera, taken at `timestamp` seconds; `whole`: no other image belongs to their frame set."""

    timestamp: float
    images: Mapping[str, bytes]
    whole: bool = False


@dataclass(frozen=True)
class Ack:
    """Every result up to `sequence` was received."""

    sequence: int


@dataclass(frozen=True)
class End:
    """No capture follows."""


@dataclass(frozen=True)
class Opened:
    """The session is there. `next_capture` is the number of captures of it that have come so far."""

    token: str
    header: PoseHeader
    next_capture: int
    calibration_hash: str


@dataclass(frozen=True)
class Latency:
    """Where the time of a result went: `received` is Unix time in seconds, the others last milliseconds."""

    received: float
    assembled_ms: float
    queued_ms: float
    decoded_ms: float
    computed_ms: float
    held_ms: float
    sent_ms: float


@dataclass(frozen=True)
class StreamCounters:
    """What happened to the captures of a stream so far.

    `captures` messages came; of `frame_sets` that were assembled, `dropped` were never computed; `late` images came
    after their frame set was closed, `duplicates` twice, `missing` never, and `corrupt` ones could not be read;
    `unread` results were overtaken before a slow reader took them.
    """

    captures: int = 0
    frame_sets: int = 0
    dropped: int = 0
    late: int = 0
    duplicates: int = 0
    missing: int = 0
    corrupt: int = 0
    unread: int = 0


@dataclass(frozen=True, eq=False)
class LivePose:
    """The people of one frame set: `frame.index` is the sequence number, `frame.timestamp` the capture time.

    `skew` is in seconds between its first and last image, `missing` names the cameras without one, `clock_offsets` says
    by how many seconds the clock of a camera seems to be ahead.
    """

    frame: Frame
    skew: float
    missing: tuple[str, ...]
    latency: Latency
    counters: StreamCounters
    clock_offsets: Mapping[str, float]

    @property
    def sequence(self) -> int:
        return self.frame.index


@dataclass(frozen=True)
class Received:
    """How many captures have come."""

    captures: int


@dataclass(frozen=True)
class Ended:
    """Every result was sent."""

    counters: StreamCounters


ToServer: TypeAlias = Start | Resume | Capture | Ack | End
FromServer: TypeAlias = Opened | LivePose | Received | Ended
