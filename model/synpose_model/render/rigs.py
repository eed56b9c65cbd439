"""Random rigs: cameras of all kinds that look at a person who moves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synpose.rig import Camera
from synpose_model.render.lens import Lens

__all__ = ["IMAGE_SIZE", "random_rig"]

Array = NDArray[np.float64]

IMAGE_SIZE = (640, 480)

_TALL = (120.0, 460.0)  # a standing person in the image, pixels
_FOCAL = (330.0, 1200.0)  # pixels: 88° to 30° across
_APART = np.radians(20)  # two cameras closer than this, seen from the person, are one
_ROLL = 10.0


def random_rig(rng: np.random.Generator, count: int, joints: Array, height: float) -> tuple[Lens, ...]:
    """`count` cameras around someone `height` metres tall with world joints `(T, J, 3)`, floor at z = 0.

    All around, or with a chance of 0.3 within 120° on one side. In each, most joints are in the image most of the
    time.
    """
    middle = (joints.min((0, 1)) + joints.max((0, 1))) / 2
    start = rng.uniform(-np.pi, np.pi)
    spread = np.radians(120) if rng.random() < 0.3 else 2 * np.pi
    reach = np.linalg.norm((joints - middle)[..., :2], axis=-1).max()
    lenses: list[Lens] = []
    angles: list[float] = []
    tallest = _TALL[1]
    while len(lenses) < count:
        angle = start + spread * rng.random()
        if any(abs((angle - other + np.pi) % (2 * np.pi) - np.pi) < _APART for other in angles):
            spread = min(1.05 * spread, 2 * np.pi)  # until there is room for all
            continue
        tall, distance = rng.uniform(_TALL[0], tallest), rng.uniform(max(2.2, reach + 1.3), 7.5)
        camera = _random_camera(rng, f"cam{len(lenses) + 1:02d}", angle, middle, height, tall, distance)
        if _sees(camera, joints) and (lens := Lens(camera)).usable:
            lenses.append(lens)
            angles.append(angle)
            tallest = _TALL[1]
        else:
            tallest = _TALL[0] + 0.97 * (tallest - _TALL[0])  # someone who walks far only fits when small
    return tuple(lenses)


def _random_camera(
    rng: np.random.Generator, name: str, angle: float, middle: Array, height: float, tall: float, distance: float
) -> Camera:
    width, rows = IMAGE_SIZE
    focal = np.clip(tall * distance / height, *_FOCAL)
    position = np.array((middle[0] + distance * np.cos(angle), middle[1] + distance * np.sin(angle), 0.0))
    position[2] = rng.uniform(0.8, 3.0)
    target = middle + rng.normal(0, 0.12, 3) * height
    R = _looking(target - position, np.radians(rng.uniform(-_ROLL, _ROLL)))
    K = np.array(
        (
            (focal, 0.0, (width - 1) / 2 + rng.normal(0, 6)),
            (0.0, focal * rng.uniform(0.995, 1.005), (rows - 1) / 2 + rng.normal(0, 6)),
            (0.0, 0.0, 1.0),
        )
    )
    distortion = (rng.uniform(-0.25, 0.1), rng.uniform(-0.05, 0.06), *rng.uniform(-0.002, 0.002, 2), 0.0)
    return Camera(name, IMAGE_SIZE, K, R, -R @ position, distortion)


def _looking(along: Array, roll: float) -> Array:
    """The world-to-camera rotation of a camera that looks `along`, upright but for `roll` (radians)."""
    z = along / np.linalg.norm(along)
    x = np.cross(z, (0.0, 0.0, 1.0))
    x /= np.linalg.norm(x)
    y = np.cross(z, x)
    cosine, sine = np.cos(roll), np.sin(roll)
    return np.stack((cosine * x + sine * y, cosine * y - sine * x, z))


def _sees(camera: Camera, joints: Array) -> bool:
    """Whether nine in ten joints are in the image, all in front and none nearer than 70 cm."""
    if camera.to_camera(joints)[..., 2].min() < 0.7:
        return False
    pixels = camera.project(joints)
    return bool(((pixels > 0) & (pixels < np.array(camera.size) - 1)).all(-1).mean() > 0.9)
