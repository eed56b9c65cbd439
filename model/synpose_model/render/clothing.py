"""Random clothes: what each vertex of a body wears, in which colours, and how far the cloth stands off the skin."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synpose_model.render.body import Body

__all__ = ["Outfit", "random_outfit"]

Array = NDArray[np.float64]
Single = NDArray[np.float32]

_SKIN = np.array(((0.87, 0.67, 0.55), (0.75, 0.52, 0.40), (0.55, 0.36, 0.25), (0.28, 0.17, 0.12)))
_HAIR = np.array(((0.04, 0.03, 0.03), (0.16, 0.09, 0.05), (0.45, 0.30, 0.14), (0.75, 0.60, 0.35), (0.55, 0.55, 0.55)))


@dataclass(frozen=True, eq=False)
class Outfit:
    """A dressed rest pose: `vertices` and `normals` `(V, 3)` (body frame), linear `colors` and `accents` `(V, 3)`.

    `pattern` `(V,)` is the cloth's: 0 plain, 1 stripes, 2 checks, 3 speckles, in the accent colour.
    """

    vertices: Array
    normals: Array
    colors: Single
    accents: Single
    pattern: Single


def random_outfit(rng: np.random.Generator, body: Body) -> Outfit:
    """Skin, hair, top, trousers and shoes of random cut and colour on `body`."""
    rest = body.vertices
    normals = _normals(rest, body.model.faces)
    group = _groups(body)
    colors = np.tile(_mix(rng, _SKIN), (len(rest), 1))
    accents, pattern, loose = colors.copy(), np.zeros(len(rest)), np.zeros(len(rest))

    def wear(where: NDArray[np.bool_], kind: int, thickness: float) -> None:
        colors[where], accents[where] = _cloth(rng), _cloth(rng)
        pattern[where] = kind
        loose[where] = thickness * (0.8 + 0.4 * np.sin(9 * rest[where] @ rng.normal(size=3)))

    arm, leg = _along(body, "upperarm01", "lowerarm01", "wrist"), _along(body, "upperleg01", "lowerleg01", "foot")
    arm[group != "arm"] = leg[group != "leg"] = 0.0
    waist = body.head("spine04")[2] + rng.uniform(-0.02, 0.03) * body.height
    hem = waist - rng.uniform(0.0, 0.1) * body.height
    legs = (group == "leg") | ((group == "trunk") & (rest[:, 2] < waist))
    wear(legs & (leg < rng.choice((0.45, 0.85, 1.9, 1.95))), int(rng.choice((0, 0, 0, 3))), rng.uniform(0.004, 0.018))
    wear(group == "foot", 0, 0.006)
    collar = body.head("neck01")[2] - rng.uniform(0.0, 0.04)
    top = ((group == "trunk") | (group == "arm")) & (rest[:, 2] > hem) | (group == "arm")
    top &= ~((group == "trunk") & (rest[:, 2] > collar) & (np.abs(rest[:, 0]) < 0.07))
    wear(top & (arm < rng.choice((0.15, 0.6, 0.8, 1.9, 1.95))), int(rng.integers(0, 4)), rng.uniform(0.004, 0.022))
    _face_and_hair(rng, body, group, normals, colors, loose)
    accents[group == "head"] = colors[group == "head"]
    return Outfit(
        rest + loose[:, None] * normals,
        normals,
        colors.astype(np.float32),
        accents.astype(np.float32),
        pattern.astype(np.float32),
    )


def _face_and_hair(
    rng: np.random.Generator, body: Body, group: NDArray[np.str_], normals: Array, colors: Array, loose: Array
) -> None:
    """Paints hair, brows, eyes and lips, placed by the face's own joints, into `colors` and `loose`."""
    rest = body.vertices
    nose, eye, _, ear = body.model.joints(rest)[:4]
    x, y, z = rest.T
    size = np.linalg.norm(eye - nose)  # the face's own unit, about 4 cm in an adult
    head = group == "head"
    hair_color = _mix(rng, _HAIR)
    hairline = eye[2] + rng.uniform(1.3, 1.8) * size
    nape = ear[2] - rng.uniform(0.3, 3.0) * size
    hair = head & ((z > hairline) | ((y > ear[1] - 0.2 * size) & (z > nape)))
    hair |= head & (z > eye[2] + 0.5 * size) & (y > ear[1] - 1.2 * size)
    if rng.random() < 0.9:
        colors[hair] = hair_color * rng.uniform(0.7, 1.3, (int(hair.sum()), 1))
        loose[hair] += rng.uniform(0.15, 0.6) * size
    front = head & (y < eye[1] + 0.3 * size)
    brow = front & (np.abs(z - eye[2] - 0.5 * size) < 0.12 * size) & (np.abs(np.abs(x) - eye[0]) < 0.5 * size)
    colors[brow] = 0.6 * hair_color
    lips = front & (np.hypot(x / 0.65, (z - nose[2] + 0.95 * size) / 0.22) < size) & (y < nose[1] + size)
    colors[lips] *= (0.85, 0.5, 0.5)
    eyes = np.isin(np.array(body.model.bones)[body.model.weights.argmax(1)], ("eye.L", "eye.R"))
    colors[eyes] = 0.8
    iris = eyes & (np.hypot(np.abs(x) - np.abs(eye[0]), z - eye[2]) < 0.16 * size)
    colors[iris] = 0.05


def _groups(body: Body) -> NDArray[np.str_]:
    """Which part of the body each vertex belongs to, by the bone that moves it most: `(V,)`."""
    prefixes = {
        "head": ("head", "eye", "neck02", "neck03"),
        "arm": ("upperarm", "lowerarm"),
        "hand": ("wrist", "finger", "metacarpal"),
        "leg": ("upperleg", "lowerleg"),
        "foot": ("foot", "toe"),
    }
    parts = [next((part for part, p in prefixes.items() if bone.startswith(p)), "trunk") for bone in body.model.bones]
    return np.asarray(np.array(parts)[body.model.weights.argmax(1)])


def _along(body: Body, start: str, middle: str, end: str) -> Array:
    """How far out on its limb each vertex lies `(V,)`: 0 at `start`, 1 at `middle`, 2 at `end`."""
    out = np.zeros(len(body.vertices))
    for side, mine in (("L", body.vertices[:, 0] > 0), ("R", body.vertices[:, 0] <= 0)):
        a, b, c = (body.head(f"{bone}.{side}") for bone in (start, middle, end))
        first = (body.vertices - a) @ (b - a) / ((b - a) @ (b - a))
        second = (body.vertices - b) @ (c - b) / ((c - b) @ (c - b))
        out[mine] = np.where(first < 1, first, 1 + np.maximum(second, 0))[mine]
    return out


def _cloth(rng: np.random.Generator) -> Array:
    """A linear colour as clothes have it: mostly muted, dark and light ones too."""
    r, g, b = colorsys.hsv_to_rgb(rng.random(), rng.beta(1.2, 1.6), rng.uniform(0.12, 0.95))
    return np.array((r, g, b)) ** 2.2


def _mix(rng: np.random.Generator, palette: Array) -> Array:
    """A linear colour between two neighbours of a palette in display colours."""
    at = rng.uniform(0, len(palette) - 1)
    low = int(at)
    return np.asarray((palette[low] + (at - low) * (palette[low + 1] - palette[low])) ** 2.2)


def _normals(vertices: Array, faces: NDArray[np.int32]) -> Array:
    """Unit vertex normals `(V, 3)`, weighted by the area of the faces around."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    across = np.cross(b - a, c - a)
    out = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(out, faces[:, corner], across)
    return np.asarray(out / np.maximum(np.linalg.norm(out, axis=-1, keepdims=True), 1e-12))
