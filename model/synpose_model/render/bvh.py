"""Motion capture as BVH: a tree of joints with offsets, and their channels over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synpose.errors import InvalidInput

__all__ = ["Motion", "read_bvh"]

Array = NDArray[np.float64]

_AXES = {"X": 0, "Y": 1, "Z": 2}


@dataclass(frozen=True, eq=False)
class Motion:
    """Joints in file order, each after its parent; an end site is called `<parent>.end`.

    `offsets` `(J, 3)` from the parent in the rest pose, in the file's unit and axes; `channels[j]` the names of a
    joint's channels in order; `values` `(T, C)` all channels of all joints, rotations in degrees.
    """

    joints: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: Array
    channels: tuple[tuple[str, ...], ...]
    values: Array
    frame_time: float

    def __len__(self) -> int:
        return len(self.values)

    def index(self, joint: str) -> int:
        """The place of `joint`; raises `InvalidInput` where the motion has no such joint."""
        if joint not in self.joints:
            raise InvalidInput(f"the motion has no joint {joint!r}; it has {', '.join(self.joints)}")
        return self.joints.index(joint)

    def rest(self) -> Array:
        """Joint positions `(J, 3)` of the rest pose, root at the origin."""
        rest = np.zeros_like(self.offsets)
        for j, parent in enumerate(self.parents):
            if parent >= 0:
                rest[j] = rest[parent] + self.offsets[j]
        return rest

    def pose(self, frames: slice | Sequence[int]) -> tuple[Array, Array]:
        """World rotations `(T, J, 3, 3)` and positions `(T, J, 3)` of the chosen frames (T).

        A rotation takes the rest pose's directions to the frame's; a joint's channels are applied in file order,
        the first outermost.
        """
        values = self.values[frames]
        rotations = np.empty((len(values), len(self.joints), 3, 3))
        positions = np.empty((len(values), len(self.joints), 3))
        column = 0
        for j, (parent, channels) in enumerate(zip(self.parents, self.channels, strict=True)):
            local = np.broadcast_to(np.eye(3), (len(values), 3, 3))
            shift = np.tile(self.offsets[j], (len(values), 1))
            for channel in channels:
                axis, kind = _AXES[channel[0]], channel[1:]
                if kind == "rotation":
                    local = local @ _about_axis(axis, np.radians(values[:, column]))
                else:
                    shift[:, axis] = values[:, column] + (self.offsets[j, axis] if parent >= 0 else 0.0)
                column += 1
            if parent < 0:
                rotations[:, j], positions[:, j] = local, shift
            else:
                rotations[:, j] = rotations[:, parent] @ local
                positions[:, j] = positions[:, parent] + np.einsum("tij,tj->ti", rotations[:, parent], shift)
        return rotations, positions


def read_bvh(path: Path) -> Motion:
    """The motion in the file `path`; raises `InvalidInput` for anything that is not BVH."""
    head, found, tail = path.read_text(encoding="utf-8", errors="replace").partition("MOTION")
    if not found or not head.lstrip().startswith("HIERARCHY"):
        raise InvalidInput(f"{path.name} is not a BVH file: it needs a HIERARCHY and a MOTION part")
    joints: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[tuple[str, ...]] = []
    open_joints: list[int] = []
    try:
        for line in head.splitlines()[1:]:
            match line.split():
                case ["ROOT" | "JOINT", name] | ["End" as name, _]:
                    parents.append(open_joints[-1] if open_joints else -1)
                    joints.append(name if name != "End" else f"{joints[parents[-1]]}.end")
                    offsets.append([0.0, 0.0, 0.0])
                    channels.append(())
                case ["{"]:
                    open_joints.append(len(joints) - 1)
                case ["}"]:
                    open_joints.pop()
                case ["OFFSET", x, y, z]:
                    offsets[-1] = [float(x), float(y), float(z)]
                case ["CHANNELS", count, *names]:
                    known = all(n[0] in _AXES and n[1:] in ("rotation", "position") for n in names)
                    if not known or len(names) != int(count):
                        raise ValueError(line)
                    channels[-1] = tuple(names)
        frames_line, time_line, *rows = tail.strip().splitlines()
        length, frame_time = int(frames_line.split(":")[1]), float(time_line.split(":")[1])
        values = np.array([row.split() for row in rows if row.strip()], dtype=np.float64)
        if values.shape != (length, sum(map(len, channels))) or not np.isfinite(values).all() or frame_time <= 0:
            raise ValueError(f"{values.shape[0]} frames for {length}")
    except (ValueError, IndexError) as error:
        raise InvalidInput(f"{path.name} is a broken BVH file: {error}") from None
    return Motion(tuple(joints), tuple(parents), np.array(offsets), tuple(channels), values, frame_time)


def _about_axis(axis: int, angles: Array) -> Array:
    """Rotations `(T, 3, 3)` about a coordinate axis by `angles` `(T,)` in radians."""
    after, last = (axis + 1) % 3, (axis + 2) % 3
    out = np.zeros((len(angles), 3, 3))
    out[:, axis, axis] = 1.0
    out[:, after, after] = out[:, last, last] = np.cos(angles)
    out[:, last, after] = np.sin(angles)
    out[:, after, last] = -np.sin(angles)
    return out
