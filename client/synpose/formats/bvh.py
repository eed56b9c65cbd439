"""The BVH file of animation: one person as a tree of rotations from the pelvis, in metres, y up, facing z at rest.

The person is the one in the most frames; the tree is that of `armature`, whose bones are rigid, so joints are moved by
what their bones' lengths vary. Rotations are Z, X, Y, outermost first, in degrees. BVH cannot hold gaps: they are
bridged along a straight line. Layout: Biovision's, as all importers read it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from synpose.armature import Armature, fit_armature
from synpose.formats.upright import Up, to_y_up
from synpose.pose import PoseSequence

__all__ = ["encode"]

_ROTATIONS = "Zrotation Xrotation Yrotation"


def encode(sequence: PoseSequence, up: Up) -> bytes:
    """`sequence` as BVH at a constant rate, a line for every frame."""
    armature = fit_armature(to_y_up(sequence.joints(), up), sequence.header.skeleton)
    angles = euler_zxy(armature.local_rotations()).reshape(len(sequence.frames), 3 * len(armature.joints))
    values = np.concatenate((armature.root, angles), axis=1)
    lines = [
        "HIERARCHY",
        *_hierarchy(armature, 0, 0),
        "MOTION",
        f"Frames: {len(values)}",
        f"Frame Time: {1 / sequence.header.fps:.9f}",
        *(" ".join([f"{value:.6f}" for value in row]) for row in values.tolist()),
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def euler_zxy(rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles `(T, N, 3)` in degrees, continuous over T, of rotations `(T, N, 3, 3)` about z, x, y, outermost first."""
    sine = np.clip(rotations[..., 2, 1], -1, 1)
    locked = np.abs(sine) > 1 - 1e-12  # z and y turn about one axis: all of it is z
    z = np.where(
        locked,
        np.arctan2(rotations[..., 1, 0], rotations[..., 0, 0]),
        np.arctan2(-rotations[..., 0, 1], rotations[..., 1, 1]),
    )
    y = np.where(locked, 0.0, np.arctan2(-rotations[..., 2, 0], rotations[..., 2, 2]))
    angles = np.degrees(np.stack((z, np.arcsin(sine), y), axis=-1))
    return np.asarray(np.unwrap(angles, axis=0, period=360))


def _hierarchy(armature: Armature, joint: int, depth: int) -> Iterator[str]:
    tab = "\t" * depth
    channels = f"6 Xposition Yposition Zposition {_ROTATIONS}" if depth == 0 else f"3 {_ROTATIONS}"
    yield f"{tab}{'JOINT' if depth else 'ROOT'} {armature.joints[joint]}"
    yield f"{tab}{{"
    yield f"{tab}\tOFFSET {' '.join(f'{value:.6f}' for value in armature.offsets[joint])}"
    yield f"{tab}\tCHANNELS {channels}"
    children = [child for child, parent in enumerate(armature.parents) if parent == joint]
    for child in children:
        yield from _hierarchy(armature, child, depth + 1)
    if not children:
        yield from (f"{tab}\tEnd Site", f"{tab}\t{{", f"{tab}\t\tOFFSET 0.000000 0.000000 0.000000", f"{tab}\t}}")
    yield f"{tab}}}"
