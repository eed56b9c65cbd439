"""Several people in one room, who walk around each other and hide each other from the cameras."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synpose.errors import InvalidInput
from synpose_model.render.body import BodyModel, random_phenotype
from synpose_model.render.bvh import read_bvh
from synpose_model.render.clip import Clip, Person
from synpose_model.render.clothing import random_outfit
from synpose_model.render.environment import plain_environment, read_environment
from synpose_model.render.retarget import retarget
from synpose_model.render.rigs import random_rig
from synpose_model.render.scene import random_scene

__all__ = ["random_crowd"]

Array = NDArray[np.float64]

_FPS = 30.0
_FRAMES = 200
_SHORTEST = 85  # frames of a motion: it is played forth and back until the clip is over
_CAMERAS = 4
_PACE = 1.2  # metres that someone gets about at least
_ROOM = 2.6  # metres from the middle that nobody leaves
_APART, _CLOSE = 0.5, 1.0  # metres between the middles of two people: never less, and once at least so near
_TRIES = 600


def random_crowd(
    model: BodyModel, motions: Sequence[Path], environments: Sequence[Path], seed: int, index: int, people: int
) -> Clip:
    """Clip number `index` of `seed` with so many `people`, each of whom comes close to one who was there before.

    Raises `InvalidInput` where the motions do not allow it.
    """
    rng = np.random.default_rng((seed, index, people))
    walking: list[Person] = []
    heights = []
    for _ in range(people):
        person, height = _newcomer(rng, model, motions, walking)
        walking.append(person)
        heights.append(height)
    joints = np.concatenate([person.joints for person in walking], 1)  # (T, N · 27, 3)
    lenses = random_rig(rng, _CAMERAS, joints, max(heights))
    return Clip(
        model,
        tuple(walking),
        lenses,
        random_scene(rng, lenses, joints, _FRAMES / _FPS),
        read_environment(environments[int(rng.integers(len(environments)))])
        if environments
        else plain_environment(rng),
        _FPS,
        int(rng.integers(2**31)),
    )


def _newcomer(
    rng: np.random.Generator, model: BodyModel, motions: Sequence[Path], others: Sequence[Person]
) -> tuple[Person, float]:
    """Someone who gets about without walking through `others`, and how tall they are."""
    child = bool(rng.random() < 1 / 6)
    body = model.shaped(random_phenotype(rng, child))
    for _ in range(_TRIES):
        path = motions[int(rng.integers(len(motions)))]
        motion = read_bvh(path)
        step = max(1, round(1 / (_FPS * motion.frame_time)))
        if (len(motion) - 1) // step < _SHORTEST:
            continue
        transforms = retarget(motion, slice(1, len(motion), step), body)
        transforms = transforms[_forth_and_back(len(transforms), int(rng.integers(len(transforms))))]
        joints = body.posed_joints(transforms)
        middle = (joints.min((0, 1)) + joints.max((0, 1))) / 2 * (1, 1, 0)
        if np.linalg.norm(np.ptp(joints.mean(1)[:, :2], axis=0)) < _PACE:
            continue
        for _ in range(20):
            turn, shift = rng.uniform(-np.pi, np.pi), np.array((*rng.uniform(-1.2, 1.2, 2), 0.0))
            around = np.array(((np.cos(turn), -np.sin(turn), 0), (np.sin(turn), np.cos(turn), 0), (0, 0, 1)))
            moved = (joints - middle) @ around.T + shift
            if _fits(moved, others):
                placed = around @ transforms
                placed[..., 3] += shift - around @ middle
                return Person(placed, random_outfit(rng, body), moved, path.stem, child), body.height
    raise InvalidInput(f"no motion takes a person past {len(others)} others without touching them", field="motions")


def _forth_and_back(length: int, start: int) -> NDArray[np.int64]:
    """Frames of a motion of `length`, from `start` on, that turns around at both of its ends."""
    at = (start + np.arange(_FRAMES)) % (2 * length - 2)
    return np.minimum(at, 2 * length - 2 - at)


def _fits(joints: Array, others: Sequence[Person]) -> bool:
    if np.linalg.norm(joints[..., :2], axis=-1).max() > _ROOM:
        return False
    path = joints.mean(1)[:, :2]
    gaps = [float(np.linalg.norm(path - other.joints.mean(1)[:, :2], axis=-1).min()) for other in others]
    return not gaps or (min(gaps) > _APART and min(gaps) < _CLOSE)
