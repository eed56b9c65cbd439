"""The answer: people's joints over time, in the world frame, in metres."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from synpose.errors import NotFound
from synpose.skeleton import Skeleton

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from synpose.formats.upright import Up

__all__ = ["Frame", "ModelInfo", "Notice", "Person", "PoseHeader", "PoseSequence", "ServedModel"]


@dataclass(frozen=True)
class ModelInfo:
    """Which bundle answered."""

    name: str
    version: str


@dataclass(frozen=True)
class ServedModel:
    """A model that can be asked for, and the skeletons that it can answer in."""

    name: str
    version: str
    description: str
    skeletons: tuple[str, ...]
    is_default: bool


@dataclass(frozen=True)
class Notice:
    """Something that was handled and that the user should know: a missing view, a shorter clip, a cropped image.

    `code` is stable and for programs (`"unequal-lengths"`); `message` is one sentence for a person.
    """

    code: str
    message: str
    camera: str | None = None

    def __str__(self) -> str:
        return self.message if self.camera is None else f"camera {self.camera!r}: {self.message}"


@dataclass(frozen=True, eq=False)
class Person:
    """One person at one instant.

    `joints` `(J, 3)` world frame, metres, NaN where a joint cannot be known; `sigma` `(J,)` metres, the radius that
    holds the true joint with 68 % probability, NaN with its joint; `score` in [0, 1]; `views` the cameras that
    were used.
    """

    id: int
    score: float
    joints: NDArray[np.float64]
    sigma: NDArray[np.float64]
    views: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Frame:
    """The people of one frame set. `timestamp` is in seconds: the capture time where the request or stream gave one, of
    any epoch, else from the clip's start.

    `notices` are the things that became known with this frame set; a `PoseSequence` gathers them.
    """

    index: int
    timestamp: float
    people: tuple[Person, ...] = ()
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True)
class PoseHeader:
    """What all frames of an answer share; the first line of a stream.

    `left_out` is how many whole images at the start of a camera's recording the option `offsets` left out, by the
    camera; none of one that is not named. So frame `t` was computed from image `t + left_out` of each camera.
    """

    model: ModelInfo
    skeleton: Skeleton
    fps: float
    units: str = "m"
    left_out: Mapping[str, int] = field(default_factory=dict, hash=False)  # a mapping has no hash


@dataclass(frozen=True, eq=False)
class PoseSequence:
    """A whole answer."""

    header: PoseHeader
    frames: Sequence[Frame] = field(default_factory=tuple)

    @property
    def notices(self) -> tuple[Notice, ...]:
        """Every notice of every frame, in order."""
        return tuple(notice for frame in self.frames for notice in frame.notices)

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids of all people that appear, ascending."""
        return tuple(self._rows)

    @property
    def main_person(self) -> int | None:
        """The id of the person who appears in the most frames, the lowest among equals; None if nobody does."""
        return max(self.ids, key=lambda person: len(self._rows[person]), default=None)

    def only(self, person: int) -> PoseSequence:
        """The same frames with one person alone; raises `NotFound` for one who never appears."""
        self._check(person)
        frames = [replace(f, people=tuple(p for p in f.people if p.id == person)) for f in self.frames]
        return replace(self, frames=tuple(frames))

    def joints(self, person: int | None = None) -> NDArray[np.float64]:
        """Joints `(T, J, 3)` of one person over all frames, metres, world frame; NaN where unknown or absent.

        Without an id: the person who appears in the most frames (all NaN if nobody does). Raises `NotFound` for the id
        of one who never appears.
        """
        return self._stack(person, "joints", (len(self.header.skeleton), 3))

    def sigma(self, person: int | None = None) -> NDArray[np.float64]:
        """Sigmas `(T, J)` in metres of one person over all frames, NaN as in `joints`."""
        return self._stack(person, "sigma", (len(self.header.skeleton),))

    def angles(self, person: int | None = None) -> dict[str, NDArray[np.float64]]:
        """Joint angles `(T,)` in degrees by name, as `synpose.angles` defines them; NaN where unknown."""
        from synpose.angles import joint_angles

        return joint_angles(self.joints(person), self.header.skeleton)

    def to_dataframe(self) -> DataFrame:
        """A pandas table: one row a frame and person; frame, timestamp, person, score, then `<joint>_x`, `_y`, `_z` and
        `_sigma` in metres, NaN where unknown. Needs `synpose[notebook]`.
        """
        from pandas import DataFrame

        from synpose.formats.table import columns

        return DataFrame(columns(self))

    def plot(self, frame: int | None = None, person: int | None = None) -> Figure:
        """The people at `frame` and the angles of `person`, as `synpose.plot` draws them. Needs `synpose[notebook]`."""
        from synpose.plot import plot

        return plot(self, frame, person)

    def save(self, path: str | os.PathLike[str], up: Up | None = None) -> tuple[Path, ...]:
        """Write the file whose suffix picks the format, and one a person where the format holds one: see
        `synpose.formats.save`. `up` is the axis of the world that points up; without it, it is guessed.
        """
        from synpose.formats import save

        return save(self, path, up)

    @cached_property
    def _rows(self) -> dict[int, list[tuple[int, Person]]]:
        """By ascending id where in `frames` everybody is: gathered once, as an answer may have many ids."""
        rows: defaultdict[int, list[tuple[int, Person]]] = defaultdict(list)
        for t, frame in enumerate(self.frames):
            for person in frame.people:
                rows[person.id].append((t, person))
        return {person: rows[person] for person in sorted(rows)}

    def _check(self, person: int) -> None:
        if person not in self._rows:
            known = ", ".join(map(str, self.ids)) or "nobody"
            raise NotFound(f"no person {person}; there are {known}", field="person")

    def _stack(self, person: int | None, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        out = np.full((len(self.frames), *shape), np.nan)
        if person is None:
            person = self.main_person
        else:
            self._check(person)
        for t, p in () if person is None else self._rows[person]:
            out[t] = getattr(p, name)
        return out
