"""What stands around a person: floor, room, furniture, and boxes that hide parts of the person from some cameras."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synpose_model.render.lens import Lens

__all__ = ["Box", "Material", "Scene", "random_scene"]

Array = NDArray[np.float64]

_PATTERNS = 5  # plain, checks, stripes, speckles, bricks: as the surface shader numbers them


@dataclass(frozen=True)
class Material:
    """A patterned surface: two linear colours, and the pattern's size in metres."""

    pattern: int
    color: tuple[float, float, float]
    accent: tuple[float, float, float]
    size: float


@dataclass(frozen=True, eq=False)
class Box:
    """A box turned about the vertical by `yaw`: `half` its half sides `(3,)`, `center` `(3,)` at time 0.

    Metres, world frame; `velocity` `(3,)` in m/s.
    """

    center: Array
    half: Array
    yaw: float
    material: Material
    velocity: Array

    def transform(self, time: float) -> Array:
        """Unit cube [−1, 1]³ to world at `time` seconds, `(4, 4)`."""
        out = np.eye(4)
        cosine, sine = np.cos(self.yaw), np.sin(self.yaw)
        out[:3, :3] = np.array(((cosine, -sine, 0), (sine, cosine, 0), (0, 0, 1))) * self.half
        out[:3, 3] = self.center + time * self.velocity
        return out


@dataclass(frozen=True, eq=False)
class Scene:
    """`sun` `(3,)` points to the lamp, `sunlight` is its strength against a sky of 1; the floor is z = 0.

    Outdoors the floor fades into the surroundings at `horizon` metres from `middle` `(3,)`.
    """

    middle: Array
    boxes: tuple[Box, ...]
    floor: Material
    horizon: float
    sun: Array
    sunlight: float
    exposure: float


def random_scene(rng: np.random.Generator, lenses: tuple[Lens, ...], joints: Array, seconds: float) -> Scene:
    """A scene around world joints `(T, J, 3)` for cameras that must not stand inside anything.

    With a chance of 0.45 something static, and of 0.3 something moving, hides part of the person from one camera or
    more; the rest stands where it hides no one.
    """
    middle = (joints.min((0, 1)) + joints.max((0, 1))) / 2
    reach = np.linalg.norm(joints[..., :2] - middle[:2], axis=-1).max()
    eyes = np.stack([lens.ideal.center for lens in lenses])
    boxes = []
    indoors = rng.random() < 0.5
    size = np.abs(eyes[:, :2] - middle[:2]).max() + rng.uniform(0.7, 2.5)
    if indoors:
        half = np.array((size, max(size * rng.uniform(0.8, 1.2), size), rng.uniform(1.7, 2.2)))
        boxes.append(Box(np.array((*middle[:2], half[2] - 1e-3)), half, 0.0, _material(rng, 0.4), np.zeros(3)))
    for _ in range(rng.integers(4, 14)):
        half = np.array((*rng.uniform(0.1, 0.7, 2), rng.uniform(0.15, 1.2)))
        at = middle[:2] + rng.uniform(-1, 1, 2) * size
        if _clear(at, float(np.hypot(*half[:2])), middle[:2], reach, eyes[:, :2]):
            boxes.append(Box(np.array((*at, half[2])), half, rng.uniform(0, 3), _material(rng), np.zeros(3)))
    if rng.random() < 0.45:
        boxes += [_between(rng, eye, middle, reach, 0.0) for eye in eyes[: max(1, len(eyes) // 2)]]
    if rng.random() < 0.3:
        boxes.append(_between(rng, eyes[-1], middle, reach, seconds))
    elevation, azimuth = np.radians(rng.uniform(30, 75)), rng.uniform(-np.pi, np.pi)
    sun = np.array(
        (np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)),
    )
    return Scene(
        middle,
        tuple(boxes),
        _material(rng, 0.4),
        100.0 if indoors else size + rng.uniform(0, 4),
        sun,
        rng.uniform(0.0, 1.3),
        rng.uniform(0.55, 1.2),
    )


def _between(rng: np.random.Generator, eye: Array, middle: Array, reach: float, seconds: float) -> Box:
    """A box between a camera and the person: on the floor, or for `seconds` > 0 one that crosses the view."""
    away = eye[:2] - middle[:2]
    distance = float(np.linalg.norm(away))
    away /= distance
    side = np.array((-away[1], away[0]))
    near = min(reach + 0.45, distance - 0.9)
    out = rng.uniform(near, max(near, min(near + 1.0, distance - 0.9)))
    half = np.array((*rng.uniform(0.08, 0.35, 2), rng.uniform(0.2, 0.55)))
    at = middle[:2] + out * away + rng.normal(0, 0.25) * side
    if not seconds:
        return Box(np.array((*at, half[2])), half, rng.uniform(0, 3), _material(rng), np.zeros(3))
    travel = rng.choice((-1, 1)) * rng.uniform(0.8, 2.0) * side
    start = np.array((*(at - travel / 2), rng.uniform(0.3, 1.4)))
    return Box(start, half * 0.6, rng.uniform(0, 3), _material(rng), np.array((*travel, 0.0)) / seconds)


def _clear(at: Array, radius: float, middle: Array, reach: float, eyes: Array) -> bool:
    """Whether a round thing at `at` `(2,)` keeps off the person and out of every camera's sight of them."""
    for eye in eyes:
        sight = eye - middle
        along = np.clip((at - middle) @ sight / (sight @ sight), 0, 1)
        if np.linalg.norm(middle + along * sight - at) < radius + 0.5 + reach * (1 - along):
            return False
    return bool(np.linalg.norm(at - middle) > reach + radius + 0.5)


def _material(rng: np.random.Generator, most_vivid: float = 1.0) -> Material:
    def color() -> tuple[float, float, float]:
        r, g, b = colorsys.hsv_to_rgb(rng.random(), most_vivid * rng.beta(1, 2), rng.uniform(0.25, 0.9))
        return (r**2.2, g**2.2, b**2.2)

    ground, other, contrast = np.array(color()), np.array(color()), rng.uniform(0.2, 1.0)
    accent = ground + contrast * (other - ground)
    return Material(int(rng.integers(_PATTERNS)), tuple(ground), tuple(accent), rng.uniform(0.08, 0.9))
