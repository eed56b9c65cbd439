"""Records the crops that a server reads of rendered clips, where it expected the joints, and what it sees in them.

Made-up errors are independent of each other and of the picture; those of a server are not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synpose.rig import Camera, Rig
from synpose_model.crop import NOWHERE, Crop
from synpose_model.data.sightings import Sighting
from synpose_model.image import Image
from synpose_server.rendered_clip import RenderedClip
from synpose_server.runtime import Model
from synpose_server.settings import Settings
from synpose_server.synchronise import FrameSets
from synpose_server.track import TrackedPerson, Tracker, _Cut, _Sighting

__all__ = ["Served", "record_served"]

Array = NDArray[np.float64]

_SUBSETS = (1, 2, 2, 3, 4)  # how many cameras the subsets of a clip of one person have of which it is read,
_MOST = 4  # and how many a clip may have to be read with all of them as well
_FEWEST = 6  # of COCO's joints in a crop: with fewer it is somebody else's
_NEAR = 0.5  # metres on average: who is expected farther from where one of several people is is not that person


@dataclass(frozen=True)
class Served:
    """F frame sets of one person as the V cameras of `rig` showed them to a server, as `rendered.write_clip` takes it.

    `crops` are by trunk, F × V of them, `labels` those of each crop, and `count` how many show the person. `joints`
    `(F, 27, 3)` is where they truly were and `ahead` where they were expected, metres, world. `sightings` are what was
    seen of them, and of each of the others, in all frame sets of the longest time in which they were followed without a
    break.
    """

    name: str
    rig: Rig
    joints: Array
    ahead: Array
    crops: Mapping[str, Sequence[NDArray[np.uint8]]]
    labels: Mapping[str, Sequence[NDArray[Any]]]
    sightings: Sequence[Sighting]

    @property
    def count(self) -> int:
        return sum(bool(visibility.any()) for visibility in self.labels["visibility"])


def record_served(
    model: Model, clip: RenderedClip, sides: Mapping[str, int], *, every: int, rng: np.random.Generator
) -> Iterator[Served]:
    """Follow the people of `clip` with some of its cameras and give every `every`-th frame set, cameras by cameras.

    Crops are of the first person, with the others painted over as a server does it; several people are followed with
    all cameras, if these are few. `sides` are the sizes in which each trunk sees its crops, pixels. Raises as
    `FrameSets` and `Tracker` do.
    """
    sizes = _SUBSETS if len(clip.people) == 1 else ()
    for part in map(clip.subset, _subsets(rng, clip.rig.names, sizes)):
        if (served := _record(model, part, sides, every)) is not None:
            yield served


def _subsets(rng: np.random.Generator, names: tuple[str, ...], sizes: Sequence[int]) -> list[tuple[str, ...]]:
    chosen = [frozenset(rng.choice(names, size, replace=False)) for size in sizes if size < len(names)]
    if len(names) <= _MOST:
        chosen.append(frozenset(names))
    return [tuple(name for name in names if name in some) for some in dict.fromkeys(chosen)]


@dataclass(frozen=True)
class _Reading:
    """A crop as the graphs saw it, by trunk; where it was `expected`, and what is told of that: `ahead` `(27, 3)`.

    `pixels` is empty where crops are not kept. Both places are in the world, metres; `ahead` is NaN of who is new.
    """

    crop: Crop
    pixels: Mapping[str, NDArray[np.uint8]]
    expected: Array
    ahead: Array


class _Recorder(Tracker):
    """Follows all people and keeps what was read in the newest frame set, by track and view."""

    def __init__(self, model: Model, clip: RenderedClip, sides: Mapping[str, int]) -> None:
        super().__init__(model, clip.rig, max_people=len(clip.people))
        self._sides = sides
        self.keeps = True  # whether the crops of the next frame set are wanted, too
        self.readings: dict[int, dict[int, _Reading]] = {}
        self.seen: dict[int, _Sighting] = {}

    def tracks(self, people: Sequence[Array]) -> dict[int, int]:
        """The tracks of `people` `(27, 3)` by their number: whose place is nearest to it, and to whom it is nearest."""
        places = {id: next(iter(views.values())).expected for id, views in self.readings.items()}
        if not places:
            return {}
        off = np.array(
            [
                [np.linalg.norm(place - joints[: len(place)], axis=-1).mean() for place in places.values()]
                for joints in people
            ]
        )
        ids, nearest = list(places), off.argmin(1)
        return {
            person: ids[track]
            for person, track in enumerate(nearest)
            if len(people) == 1 or (off[:, track].argmin() == person and off[person, track] < _NEAR)
        }

    def _observe(self, images: Sequence[Image | None]) -> list[TrackedPerson]:
        self.readings, self.seen = {}, {}
        return super()._observe(images)

    def _lift(self, sightings: Sequence[_Sighting]) -> list[TrackedPerson]:
        self.seen = {sighting.track.id: sighting for sighting in sightings}
        return super()._lift(sightings)

    def _cut(self, asked: tuple[int, int, Image]) -> _Cut | None:
        cut = super()._cut(asked)
        if cut is not None:
            row, view, image = asked
            track = self._tracks[row]
            pixels = {}
            for trunk, side in self._sides.items() if self.keeps else ():
                crop = cut.crop.at(side)
                pixels[trunk] = self._alone(track, view, crop, crop.read(image))[0]
            reading = _Reading(cut.crop, pixels, track.expected.copy(), track.ahead.copy())
            self.readings.setdefault(track.id, {})[view] = reading
        return cut


def _record(model: Model, clip: RenderedClip, sides: Mapping[str, int], every: int) -> Served | None:
    """One clip with all of its cameras, None where nobody was followed."""
    crops: dict[str, list[NDArray[np.uint8]]] = {trunk: [] for trunk in sides}
    labels: dict[str, list[NDArray[Any]]] = defaultdict(list)
    joints, ahead = [], []
    seen: list[dict[int, _Sighting]] = [{} for _ in clip.people]
    recorder = _Recorder(model, clip, sides)
    with closing(FrameSets(clip.videos, Settings().max_pixels)) as frame_sets:
        for frame_set in frame_sets:
            t = frame_set.index
            recorder.keeps = t % every == 0
            recorder.step(frame_set.images)
            if t >= len(clip.joints) or not np.isfinite(clip.joints[t]).all():
                continue
            tracks = recorder.tracks([joints[t] for joints in clip.people])
            for person, track in tracks.items():
                if track in recorder.seen:
                    seen[person][t] = recorder.seen[track]
            if 0 not in tracks or not recorder.keeps:
                continue
            readings = recorder.readings[tracks[0]]
            joints.append(clip.joints[t])
            ahead.append(next(iter(readings.values())).ahead)
            for view, camera in enumerate(clip.rig):
                reading = readings.get(view)
                for name, value in _label(reading, camera, joints[-1], clip.visibility[view, t]).items():
                    labels[name].append(value)
                for trunk, side in sides.items():
                    nothing = np.zeros((side, side, 3), np.uint8)
                    crops[trunk].append(nothing if reading is None else reading.pixels[trunk])
    if not joints or not seen[0]:
        return None
    name = "_".join((clip.name, *clip.rig.names))
    sightings = [_sighting(clip.rig, *one) for one in zip(clip.people, seen, strict=True) if one[1]]
    return Served(name, clip.rig, np.array(joints), np.array(ahead), crops, labels, sightings)


def _sighting(rig: Rig, joints: Array, seen: Mapping[int, _Sighting]) -> Sighting:
    """What was `seen` by frame set of someone with these `joints`, in the longest time without a break."""
    runs: list[list[int]] = []
    for t in seen:
        if t - 1 not in seen:
            runs.append([])
        runs[-1].append(t)
    run = max(runs, key=len)
    given = ((seen[t].directions, seen[t].keypoints[..., 2], seen[t].tokens) for t in run)
    directions, scores, tokens = (np.array(part, np.float32) for part in zip(*given, strict=True))
    origins = np.stack([camera.center for camera in rig]).astype(np.float32)
    return Sighting(origins, directions, scores, tokens, joints[run].astype(np.float32))


def _label(
    reading: _Reading | None, camera: Camera, joints: Array, visibility: NDArray[np.uint8]
) -> dict[str, NDArray[Any]]:
    """What is true of a crop; of one that shows nobody, or somebody else, that nothing can be seen."""
    if reading is not None:
        pixels = reading.crop.shares(camera.project(joints))
        inside = np.asarray(((pixels > 0) & (pixels < 1)).all(-1))
        if inside[:17].sum() >= _FEWEST:
            expected = reading.crop.shares(camera.project(reading.ahead))
            return {
                "pixels": pixels.astype(np.float32),
                "visibility": np.where(inside, visibility, 0).astype(np.uint8),
                "transforms": reading.crop.unit,
                "expected": np.where(np.isfinite(expected), expected, NOWHERE).astype(np.float32),
            }
    return {
        "pixels": np.full((len(joints), 2), np.nan, np.float32),
        "visibility": np.zeros(len(joints), np.uint8),
        "transforms": np.zeros((2, 3)),
        "expected": np.full((len(joints), 2), NOWHERE, np.float32),
    }
