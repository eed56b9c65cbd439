"""How well several people are followed: who is missed, who is invented, and whose id changes hands.

The counts are those of CLEAR MOT (Bernardin and Stiefelhagen, 2008) in 3D: a person who was matched stays matched to
the same id while that is within half a metre; the others are matched nearest first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from synpose.errors import InvalidInput
from synpose.options import Options
from synpose.skeleton import BODY27
from synpose_server.assignment import nearest_pairs
from synpose_server.engine import Engine
from synpose_server.rendered_clip import RenderedClip

__all__ = ["PeopleMeasures", "follow_people", "measure_people"]

Array = NDArray[np.float64]

_SAME = 0.5  # metres: mean distance of the limbs' joints within which an answer is of a person
_LIMBS = list(BODY27.limb_joints)


@dataclass(frozen=True)
class PeopleMeasures:
    """One model's answer for one clip. `mpjpe` is that of the matched people's known limb joints, mm, NaN if nobody is.

    `alone` is the mean of it over clips of each of them without the others, NaN where these were not drawn.
    `mota` is 1 − (missed + invented + switches) / (people × frames); it can be negative.
    """

    method: str
    clip: str
    people: int
    frames: int
    missed: int
    invented: int
    switches: int
    switches_per_minute: float
    mota: float
    mpjpe: float
    alone: float = np.nan


def follow_people(engine: Engine, name: str, clip: RenderedClip) -> PeopleMeasures:
    """Estimate `clip`, as many people as it has, by model `name`, and all alone; raises as `Engine.estimate`."""
    options = Options(model=name, skeleton=BODY27.name, max_people=len(clip.people))
    with engine.estimate(clip.rig, clip.videos, options) as estimation:
        said = [{person.id: person.joints for person in frame.people} for frame in estimation]
    if len(said) > len(clip.joints):
        raise InvalidInput(f"{clip.name}: the videos are longer than the truth", field="clips")
    measures = measure_people(name, clip, said)
    if not clip.alone:
        return measures
    return replace(measures, alone=float(np.mean([follow_people(engine, name, one).mpjpe for one in clip.alone])))


def measure_people(method: str, clip: RenderedClip, said: Sequence[Mapping[int, Array]]) -> PeopleMeasures:
    """What `said`, by frame and id joints `(27, 3)`, is worth against everyone's true joints in `clip`."""
    truth = np.stack(clip.people)[:, :, _LIMBS]  # (N, T, 12, 3)
    ids: dict[int, int] = {}  # who had which id last
    missed = invented = switches = 0
    errors: list[Array] = []
    for frame, answers in enumerate(said):
        names = list(answers)
        joints = np.array([answers[name] for name in names]).reshape(len(names), len(BODY27), 3)[:, _LIMBS]
        off = np.linalg.norm(truth[:, frame, None] - joints[None], axis=-1)  # (N, M, 12)
        known = np.isfinite(off)
        costs = np.where(known, off, 0.0).sum(-1) / np.maximum(known.sum(-1), 1)  # (N, M)
        costs[(costs > _SAME) | ~known.any(-1)] = np.inf
        kept = [(p, names.index(i)) for p, i in ids.items() if i in answers and np.isfinite(costs[p, names.index(i)])]
        rest = costs.copy()
        for person, answer in kept:
            rest[person], rest[:, answer] = np.inf, np.inf
        pairs = [*kept, *nearest_pairs(rest)]
        switches += sum(ids.get(person, names[answer]) != names[answer] for person, answer in pairs)
        ids.update({person: names[answer] for person, answer in pairs})
        missed += len(truth) - len(pairs)
        invented += len(names) - len(pairs)
        errors += [off[pair][known[pair]] for pair in pairs]
    all_errors = np.concatenate(errors) if errors else np.zeros(0)
    return PeopleMeasures(
        method,
        clip.name,
        len(truth),
        len(said),
        missed,
        invented,
        switches,
        switches / (len(said) / clip.fps / 60) if said else np.nan,
        1 - (missed + invented + switches) / max(len(truth) * len(said), 1),
        1e3 * float(all_errors.mean()) if all_errors.size else np.nan,
    )
