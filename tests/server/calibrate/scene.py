"""A made person who walks about before made cameras, and what those see, exactly or nearly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synpose.rig import Camera, Rig
from synpose.skeleton import COCO17

__all__ = ["FPS", "HEIGHT", "difference", "look_at", "make_rig", "sightings", "walk"]

Array = NDArray[np.float64]

HEIGHT = 1.8
FPS = 30.0
_AT = {name: j for j, name in enumerate(COCO17.joints)}


def walk(frames: int = 90, phase: float = 0.0, radius: float = 1.0) -> Array:
    """COCO's joints `(frames, 17, 3)` of someone of 1.8 m who walks along a bent figure, swinging arms and legs."""
    time = phase + np.arange(frames) / FPS
    place = radius * np.stack((np.sin(1.1 * time), 0.8 * np.sin(2.2 * time + 0.4)), -1)
    heading = np.unwrap(np.arctan2(*np.gradient(place, axis=0).T[::-1])) if radius else 0.3 * time
    ahead = np.stack((np.cos(heading), np.sin(heading), 0 * time), -1)
    left = np.stack((-np.sin(heading), np.cos(heading), 0 * time), -1)
    up = np.array((0.0, 0.0, 1.0))
    joints = np.zeros((frames, 17, 3))
    hips = np.column_stack((place, np.full(frames, (0.039 + 0.246 + 0.245) * HEIGHT)))
    for sign, side in ((1, "left"), (-1, "right")):
        swing = 0.5 * sign * np.sin(6 * time)
        lift = 0.2 + 0.15 * np.cos(6 * time) * sign  # of the knee, ahead; the ankle stays below the hip
        thigh = np.cos(swing + lift)[:, None] * -up + np.sin(swing + lift)[:, None] * ahead
        bend = swing - lift
        shank = np.cos(bend)[:, None] * -up + np.sin(bend)[:, None] * ahead
        hip = hips + sign * 0.0575 * HEIGHT * left
        knee = hip + 0.245 * HEIGHT * thigh
        shoulder = hips + 0.285 * HEIGHT * up + sign * 0.1 * HEIGHT * left
        arm = np.cos(-swing)[:, None] * -up + np.sin(-swing)[:, None] * ahead
        forearm = np.cos(-swing + 0.8)[:, None] * -up + np.sin(-swing + 0.8)[:, None] * ahead
        elbow = shoulder + 0.186 * HEIGHT * arm
        named = (("hip", hip), ("knee", knee), ("ankle", knee + 0.246 * HEIGHT * shank), ("shoulder", shoulder))
        for name, point in (*named, ("elbow", elbow), ("wrist", elbow + 0.146 * HEIGHT * forearm)):
            joints[:, _AT[f"{side}_{name}"]] = point
        for name in ("eye", "ear"):
            joints[:, _AT[f"{side}_{name}"]] = hips + 0.42 * HEIGHT * up + sign * 0.03 * left
    joints[:, _AT["nose"]] = hips + 0.4 * HEIGHT * up + 0.1 * ahead
    return joints


def look_at(name: str, place: Array, target: Array, focal: float = 1.0, size: tuple[int, int] = (1280, 720)) -> Camera:
    """A level camera at `place` that looks at `target`, of focal length `focal` long sides."""
    ahead: Array = target - place
    ahead = ahead / np.linalg.norm(ahead)
    right: Array = np.cross(ahead, (0, 0, 1))
    right = right / np.linalg.norm(right)
    R = np.stack((right, np.cross(ahead, right), ahead))
    (w, h), f = size, focal * max(size)
    return Camera(name, size, ((f, 0, (w - 1) / 2), (0, f, (h - 1) / 2), (0, 0, 1)), R, -R @ place)


def make_rig(count: int = 3, focal: float = 1.0, turn: float = 0.0) -> Rig:
    """Cameras 5 m from the middle, 65° apart, at heights that differ."""
    angles = turn + np.radians(65) * np.arange(count)
    places = [np.array((5 * np.cos(a), 5 * np.sin(a), 1.2 + 0.5 * v)) for v, a in enumerate(angles)]
    return Rig(tuple(look_at(f"cam{v}", p, np.array((0, 0, 1.0)), focal) for v, p in enumerate(places)))


def sightings(rig: Rig, joints: Array, noise: float = 0.0, seed: int = 0) -> Array:
    """Keypoints `(T, V, 17, 3)` of `joints` in each camera, off by `noise` pixels, with score 0.9."""
    pixels = np.stack([camera.project(joints) for camera in rig], 1)
    pixels = pixels + np.random.default_rng(seed).normal(0, noise, pixels.shape) if noise else pixels
    return np.concatenate((pixels, np.full((*pixels.shape[:-1], 1), 0.9)), -1)


def difference(rig: Rig, true: Rig) -> tuple[float, float, float]:
    """The largest rotation (degrees) and shift of a centre (share of the distance between the first two) after the
    rigid motion that aligns the rigs, and the true scale over that of `rig`.
    """
    pairs = list(zip(rig, true, strict=True))
    U, _, Vt = np.linalg.svd(np.sum([b.R.T @ a.R for a, b in pairs], axis=0))
    turn = U @ np.diag((1, 1, np.linalg.det(U @ Vt))) @ Vt
    angles = [np.degrees(np.arccos(np.clip((np.trace(b.R @ turn @ a.R.T) - 1) / 2, -1, 1))) for a, b in pairs]
    mine, given = (np.stack([camera.center for camera in own]) for own in (rig, true))
    size = np.linalg.norm(given[1] - given[0])
    mine, given = (mine - mine.mean(0)) @ turn.T, given - given.mean(0)
    scale = float((mine * given).sum() / (mine**2).sum())
    return max(angles), float(np.linalg.norm(scale * mine - given, axis=-1).max() / size), scale
