"""From a BVH motion to a body's bones: directions are kept, lengths are the body's own, feet stay on the floor.

Both skeletons carry *rest-to-frame* world rotations, so a bone's rotation is `G · A`: G from the motion, A from the
body's rest pose (arms down, legs apart) to the motion's (arms out). A aligns the bone's direction and, about it, the
plane in which the limb bends, so that elbows and knees bend about their own hinges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synpose_model.render.body import Body
from synpose_model.render.bvh import Motion

__all__ = ["retarget"]

Array = NDArray[np.float64]

_TO_Z_UP = np.array(((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)))  # BVH: y up, looks along +z
_FORWARD = np.array((0.0, -1.0, 0.0))
_SETTLE_S = 0.12  # toes do not bend, so a push-off reaches through the floor: let the body ride over it

# bone: (from, to, how far) between the rotations of two of the motion's joints; finer than the motion's own spine
_TRUNK = {
    "root": ("hip", "hip", 0.0),
    "pelvis.L": ("hip", "hip", 0.0),
    "pelvis.R": ("hip", "hip", 0.0),
    "spine05": ("hip", "abdomen", 0.35),
    "spine04": ("hip", "abdomen", 0.7),
    "spine03": ("abdomen", "abdomen", 0.0),
    "spine02": ("abdomen", "chest", 0.5),
    "spine01": ("chest", "chest", 0.0),
    "neck01": ("chest", "neck", 0.5),
    "neck02": ("neck", "neck", 0.0),
    "neck03": ("neck", "head", 0.5),
    "head": ("head", "head", 0.0),
}


def retarget(motion: Motion, frames: slice, body: Body) -> Array:
    """Bone transforms `(T, bones, 3, 4)` of `body` (rest to world, metres) that follow `frames` of `motion`.

    The motion needs the joint names of the CMU data's BVH conversion (hip, abdomen, lShldr, ...); `InvalidInput`
    otherwise. Its unit does not matter: travel is scaled by the ratio of the leg lengths. The floor is z = 0.
    """
    turned, positions = motion.pose(frames)
    turned = _TO_Z_UP @ turned @ _TO_Z_UP.T
    rest, positions = motion.rest() @ _TO_Z_UP.T, positions @ _TO_Z_UP.T
    rotations = _rotations(motion, turned, rest, body)

    thighs = [motion.index("lThigh"), motion.index("rThigh")]
    legs = rest[thighs, 2].mean() - rest[[motion.index("lFoot.end"), motion.index("rFoot.end")], 2].mean()
    hip = (body.head("upperleg01.L") + body.head("upperleg01.R")) / 2
    scale = (hip[2] - body.vertices[:, 2].min()) / legs
    root = scale * positions[:, thighs].mean(1) + rotations[:, 0] @ (body.heads[0] - hip)
    transforms = body.bone_transforms(rotations, root)
    soles = body.skinned(transforms, body.vertices, body.model.sparse)[..., 2].min(1).astype(np.float64)
    transforms[..., 2, 3] -= _floor(soles, round(_SETTLE_S / motion.frame_time))[:, None]
    return transforms


def _rotations(motion: Motion, turned: Array, rest: Array, body: Body) -> Array:
    """World rotations `(T, bones, 3, 3)` of the body's bones from the motion's `(T, J, 3, 3)`."""

    def of(joint: str) -> Array:
        return np.asarray(turned[:, motion.index(joint)])

    def there(start: str, end: str) -> Array:
        return np.asarray(rest[motion.index(end)] - rest[motion.index(start)])

    def here(start: str, end: str) -> Array:
        return body.head(end) - body.head(start)

    known = {bone: _between(of(a), of(b), part) for bone, (a, b, part) in _TRUNK.items()}
    for side, s in (("L", "l"), ("R", "r")):
        collar, shoulder, elbow, hand = (f"{s}{name}" for name in ("Collar", "Shldr", "ForeArm", "Hand"))
        upper, fore, wrist = (f"{name}.{side}" for name in ("upperarm01", "lowerarm01", "wrist"))
        known[f"clavicle.{side}"] = known[f"shoulder01.{side}"] = of(collar)
        bend_there = np.cross(there(shoulder, elbow), there(elbow, hand))
        bend_here = np.cross(here(upper, fore), here(fore, wrist))
        arm = of(shoulder) @ _align(here(upper, fore), bend_here, there(shoulder, elbow), bend_there)
        forearm = of(elbow) @ _align(here(fore, wrist), bend_here, there(elbow, hand), bend_there)
        palm = of(hand) @ _align(
            here(wrist, f"finger3-1.{side}"),
            here(f"finger2-1.{side}", f"finger5-1.{side}"),
            there(hand, f"{s}Mid1"),
            there(f"{s}Index1", f"{s}Pinky1"),
        )
        known[upper] = _half_twist(known[f"clavicle.{side}"], arm, here(upper, fore))
        known[f"upperarm02.{side}"], known[fore] = arm, forearm
        known[f"lowerarm02.{side}"] = _half_twist(palm, forearm, here(fore, wrist))
        known[wrist] = palm

        thigh, shin, foot = f"{s}Thigh", f"{s}Shin", f"{s}Foot"
        hip, knee, ankle = (f"{name}.{side}" for name in ("upperleg01", "lowerleg01", "foot"))
        leg = of(thigh) @ _align(here(hip, knee), _FORWARD, there(thigh, shin), _FORWARD)
        known[hip] = _half_twist(of("hip"), leg, here(hip, knee))
        known[f"upperleg02.{side}"] = leg
        known[knee] = known[f"lowerleg02.{side}"] = of(shin) @ _align(
            here(knee, ankle), _FORWARD, there(shin, foot), _FORWARD
        )
        # both feet stand flat at rest, whatever the height of their ankle: only the way they point differs
        flat = np.array((1.0, 1.0, 0.0))
        up = np.array((0.0, 0.0, 1.0))
        known[ankle] = of(foot) @ _align(
            here(ankle, f"toe2-1.{side}") * flat, up, there(foot, f"{foot}.end") * flat, up
        )

    rotations = np.empty((len(turned), len(body.model.bones), 3, 3))
    for b, (bone, parent) in enumerate(zip(body.model.bones, body.model.parents, strict=True)):
        rotations[:, b] = known.get(bone, rotations[:, parent])  # fingers, toes and eyes follow
    return rotations


def _floor(soles: Array, settle: int) -> Array:
    """The floor's height `(T,)` under a body whose lowest points are `soles` `(T,)`.

    The lowest point of the last and next `settle` frames, smoothed, so that a jump stays a jump, and never above
    the soles.
    """
    padded = np.pad(soles, 2 * settle, mode="edge")
    window = 2 * settle + 1
    lowest = np.lib.stride_tricks.sliding_window_view(padded, window).min(-1)
    smooth = np.lib.stride_tricks.sliding_window_view(lowest, window).mean(-1)
    return np.asarray(np.minimum(smooth, soles))


def _align(direction: Array, hint: Array, to_direction: Array, to_hint: Array) -> Array:
    """The rotation that takes `direction` to `to_direction` and, about it, `hint` as near `to_hint` as can be."""
    return _frame(to_direction, to_hint) @ _frame(direction, hint).T


def _frame(direction: Array, hint: Array) -> Array:
    x = direction / np.linalg.norm(direction)
    y = np.cross(hint, x)
    y /= np.linalg.norm(y)
    return np.stack((x, y, np.cross(x, y)), -1)


def _between(a: Array, b: Array, part: float) -> Array:
    """The rotation `part` of the way from `a` to `b`, both `(T, 3, 3)`."""
    if part == 0.0:
        return a
    turn = a.swapaxes(-1, -2) @ b
    angle = np.arccos(np.clip((np.trace(turn, axis1=-2, axis2=-1) - 1) / 2, -1, 1))
    skew = turn - turn.swapaxes(-1, -2)
    axis = np.stack((skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]), -1)
    axis /= np.maximum(np.linalg.norm(axis, axis=-1, keepdims=True), 1e-9)
    return a @ _about(axis, part * angle)


def _half_twist(parent: Array, bone: Array, direction: Array) -> Array:
    """`bone` with half of its twist about `direction` (rest pose) relative to `parent`, so that skin does not wring.

    Rotations `(T, 3, 3)`; the bone's direction stays exactly what it was.
    """
    along = direction / np.linalg.norm(direction)
    relative = parent.swapaxes(-1, -2) @ bone
    # the twist is the quaternion's part along the bone
    skew = np.stack(
        (
            relative[:, 2, 1] - relative[:, 1, 2],
            relative[:, 0, 2] - relative[:, 2, 0],
            relative[:, 1, 0] - relative[:, 0, 1],
        ),
        -1,
    )
    twist = 2 * np.arctan2(skew @ along, 1 + np.trace(relative, axis1=-2, axis2=-1))
    return bone @ _about(np.broadcast_to(along, skew.shape), -twist / 2)


def _about(axis: Array, angle: Array) -> Array:
    """Rotations `(T, 3, 3)` about unit axes `(T, 3)` by angles `(T,)` (Rodrigues)."""
    x, y, z = axis.T
    zero = np.zeros_like(x)
    cross = np.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).reshape(-1, 3, 3)
    sine, cosine = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    return np.asarray(np.eye(3) + sine * cross + (1 - cosine) * (cross @ cross))
