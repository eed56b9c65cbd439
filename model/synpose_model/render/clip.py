"""One random clip: people in motion, what they wear, where they are and who films them, all from one seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synpose.errors import InvalidInput
from synpose.rig import Rig
from synpose.skeleton import BODY27
from synpose_model.render.body import Body, BodyModel, random_phenotype
from synpose_model.render.bvh import Motion, read_bvh
from synpose_model.render.clothing import Outfit, random_outfit
from synpose_model.render.environment import Environment, plain_environment, read_environment
from synpose_model.render.lens import Lens
from synpose_model.render.retarget import retarget
from synpose_model.render.rigs import random_rig
from synpose_model.render.scene import Scene, random_scene
from synpose_model.render.sensor import Sensor
from synpose_model.render.stage import Stage

__all__ = ["Clip", "Person", "View", "random_clip"]

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
Single = NDArray[np.float32]

_FPS = 30.0
_FRAMES = (40, 61)
_ROOM = 2.2  # metres a person may stray from the middle of a clip: further, and they are small in every image
# how deep each kind of joint lies under the surface, so that skin and cloth above it do not count as hiding it: metres
_DEPTH = {
    "nose": 0.04, "eye": 0.04, "ear": 0.05, "shoulder": 0.11, "elbow": 0.08, "wrist": 0.07, "hip": 0.17, "knee": 0.1,
    "ankle": 0.08, "toe": 0.05, "heel": 0.06, "head": 0.04, "neck": 0.1, "pelvis": 0.17, "spine": 0.17,
}  # fmt: skip
_DEPTHS = np.array([_DEPTH[name.rpartition("_")[2]] for name in BODY27.joints])


@dataclass(frozen=True, eq=False)
class View:
    """One camera's `image` `(H, W, 3)` RGB, and the `visibility` `(27,)` of the joints in it.

    As COCO counts: 0 not in the image, 1 hidden (by a thing or by a person), 2 visible. Of the first person only.
    """

    image: Image
    visibility: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Person:
    """Someone who moves. `transforms` are the bones', `joints` `(T, 27, 3)` `BODY27`'s, metres, world, floor z = 0."""

    transforms: Array
    outfit: Outfit
    joints: Array
    motion: str
    child: bool


@dataclass(frozen=True, eq=False)
class Clip:
    """All that is drawn of a clip but the pixels; `people` move for equally many frames."""

    model: BodyModel
    people: tuple[Person, ...]
    lenses: tuple[Lens, ...]
    scene: Scene
    environment: Environment
    fps: float
    noise_seed: int

    @property
    def joints(self) -> Array:
        """The first person's, `(T, 27, 3)`."""
        return self.people[0].joints

    @cached_property
    def rig(self) -> Rig:
        """The cameras that film it, with their distortion."""
        return Rig(tuple(lens.camera for lens in self.lenses))

    def frames(self, stage: Stage, only: Sequence[int] | None = None) -> Iterator[list[View]]:
        """The views of every frame in order, or of the frames `only`, drawn on `stage`."""
        chosen = np.arange(len(self.joints)) if only is None else np.asarray(only)
        skins = [_skins(self.model, person, chosen) for person in self.people]
        sensors = [Sensor(np.random.default_rng((self.noise_seed, view))) for view in range(len(self.lenses))]
        stage.enter(self.scene, self.environment)
        stage.dress([person.outfit for person in self.people], self.model.faces)
        for frame, *skin in zip(chosen, *skins, strict=True):
            joints = self.joints[frame]
            stage.pose(skin, frame / self.fps)
            views = []
            for lens, sensor in zip(self.lenses, sensors, strict=True):
                image = sensor(lens.bend(stage.draw(lens.ideal)))
                views.append(View(image, _visibility(stage, lens, joints)))
            yield views


def random_clip(model: BodyModel, motions: Sequence[Path], environments: Sequence[Path], seed: int, index: int) -> Clip:
    """Clip number `index` of `seed`: 2 to 6 cameras in turn, one person, one in three a child.

    Raises `InvalidInput` where none of the motions is long enough.
    """
    rng = np.random.default_rng((seed, index))
    child = bool(rng.random() < 1 / 3)
    body = model.shaped(random_phenotype(rng, child))
    for _ in range(200):
        path = motions[int(rng.integers(len(motions)))]
        motion = read_bvh(path)
        frames = _some_frames(rng, motion)
        if frames is None:
            continue
        transforms = retarget(motion, frames, body)
        joints = body.posed_joints(transforms)
        middle = (joints.min((0, 1)) + joints.max((0, 1))) / 2
        if np.linalg.norm((joints - middle)[..., :2], axis=-1).max() < _ROOM:
            break
    else:
        raise InvalidInput("no motion is long enough for a clip and stays in one place", field="motions")
    # the mocap's own origin says nothing: turn and put the person anywhere
    turn, shift = rng.uniform(-np.pi, np.pi), np.array((*rng.uniform(-2, 2, 2), 0.0))
    around = np.array(((np.cos(turn), -np.sin(turn), 0), (np.sin(turn), np.cos(turn), 0), (0, 0, 1)))
    transforms = around @ transforms
    transforms[..., 3] += shift - around @ (middle * (1, 1, 0))
    joints = (joints - middle * (1, 1, 0)) @ around.T + shift
    fps = 1 / (motion.frame_time * (frames.step or 1))
    lenses = random_rig(rng, 2 + index % 5, joints, body.height)
    return Clip(
        model,
        (Person(transforms, random_outfit(rng, body), joints, path.stem, child),),
        lenses,
        random_scene(rng, lenses, joints, len(joints) / fps),
        read_environment(environments[int(rng.integers(len(environments)))])
        if environments
        else plain_environment(rng),
        fps,
        int(rng.integers(2**31)),
    )


def _skins(model: BodyModel, person: Person, frames: NDArray[np.int64]) -> list[tuple[Single, Single]]:
    """The surface and its normals `(V, 3)`, world, of `person` in each of `frames`."""
    body = Body(model, person.outfit.vertices, np.zeros((len(model.bones), 3)))
    turns = person.transforms[frames]
    surfaces = body.skinned(turns, person.outfit.vertices)
    turns[..., 3] = 0
    return list(zip(surfaces, body.skinned(turns, person.outfit.normals), strict=True))


def _some_frames(rng: np.random.Generator, motion: Motion) -> slice | None:
    """40 to 60 frames at about 30 a second, without the first, which some files have in a rest pose."""
    step = max(1, round(1 / (_FPS * motion.frame_time)))
    length = int(rng.integers(*_FRAMES)) * step
    if len(motion) < length + 2:
        return None
    start = int(rng.integers(1, len(motion) - length))
    return slice(start, start + length, step)


def _visibility(stage: Stage, lens: Lens, joints: Array) -> NDArray[np.uint8]:
    hidden = stage.hidden(lens.ideal, joints, _DEPTHS)
    pixels = lens.camera.project(joints)
    inside = ((pixels > -0.5) & (pixels < np.array(lens.camera.size) - 0.5)).all(-1)
    return np.where(inside, np.where(hidden, 1, 2), 0).astype(np.uint8)
