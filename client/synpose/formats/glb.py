"""The binary glTF 2.0 file: everybody as a moving figure of balls and sticks, in metres, y up, as glTF has it.

Each joint is a node that moves, so every viewer shows exactly the joints of the answer; bones of constant length, which
would move them, are what BVH is for. While a joint is unknown its node and the bones at it have scale 0: a gap is not
seen. People are nodes called `person <id>`, joints are called as in the skeleton (`p<id>:<joint>` where there are
several people), and `asset.extras` holds the header of the JSON answer. Keys are at the frames' own timestamps, counted
from the first, which is `start` of the extras in seconds: keys are float32, which knows no seconds since 1970.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synpose.formats.json import header_record
from synpose.formats.upright import Up, to_y_up
from synpose.pose import PoseSequence
from synpose.skeleton import Skeleton

__all__ = ["encode"]

Array = NDArray[np.float64]

_BALL, _STICK = 0.02, 0.012  # radii, metres
_COLOURS = {"left": (0.13, 0.45, 0.85), "right": (0.90, 0.40, 0.10), "middle": (0.55, 0.55, 0.58)}
_FLOAT, _UINT16 = 5126, 5123
_HIDDEN = (0.0, 0.0, 0.0)

# an octahedron about the origin, and the same stretched along y from 0 to 1
_CORNERS = np.array([(1, 0, 0), (0, 0, 1), (-1, 0, 0), (0, 0, -1), (0, 1, 0), (0, -1, 0)], dtype=np.float64)
_FACES = np.array(
    [(4, b, a) for a, b in ((0, 1), (1, 2), (2, 3), (3, 0))] + [(5, a, b) for a, b in ((0, 1), (1, 2), (2, 3), (3, 0))]
)


def encode(sequence: PoseSequence, up: Up) -> bytes:
    """`sequence` as GLB with one animation, `pose`."""
    document = _Document()
    skeleton, ids = sequence.header.skeleton, sequence.ids
    start = sequence.frames[0].timestamp if sequence.frames else 0.0
    times = np.array([frame.timestamp - start for frame in sequence.frames])
    people = []
    for person in ids:
        prefix = f"p{person}:" if len(ids) > 1 else ""
        joints = to_y_up(sequence.joints(person), up)
        people.append(document.node(f"person {person}", children=_figure(document, skeleton, prefix, times, joints)))
    return document.encode(people, {**header_record(sequence.header), "up": "y", "world_up": up, "start": start})


def _figure(document: _Document, skeleton: Skeleton, prefix: str, times: Array, joints: Array) -> list[int]:
    """The nodes of one person's joints `(T, J, 3)` and bones."""
    nodes = []
    known = np.asarray(np.isfinite(joints).all(-1))  # (T, J)
    for j, name in enumerate(skeleton.joints):
        node = document.node(prefix + name, mesh=_SIDES.index(_side(name)))
        nodes.append(node)
        _shown(document, node, times, known[:, j])
        document.animate(node, "translation", times[known[:, j]], joints[known[:, j], j])
    for a, b in skeleton.bones:
        name = f"{prefix}{skeleton.joints[a]} to {skeleton.joints[b]}"
        node = document.node(name, mesh=len(_SIDES) + _SIDES.index(_side(skeleton.joints[b])))
        nodes.append(node)
        both = known[:, a] & known[:, b]
        line = joints[both, b] - joints[both, a]
        lengths = np.linalg.norm(line, axis=1)
        scales = np.tile(_HIDDEN, (len(times), 1))
        scales[both] = np.stack((np.ones_like(lengths), lengths, np.ones_like(lengths)), axis=1)
        if both.any():
            document.animate(node, "scale", times, scales, "STEP" if not both.all() else "LINEAR")
            document.animate(node, "translation", times[both], joints[both, a])
            document.animate(node, "rotation", times[both], _turns_from_y(line))
        else:
            document.nodes[node]["scale"] = _HIDDEN
    return nodes


def _shown(document: _Document, node: int, times: Array, known: NDArray[np.bool_]) -> None:
    """Hide a node while it is not known: a key wherever that changes."""
    if not known.any():
        document.nodes[node]["scale"] = _HIDDEN
    elif not known.all():
        changes = np.flatnonzero(np.diff(known, prepend=~known[:1]))
        document.animate(
            node, "scale", times[changes], np.repeat(known[changes, None], 3, 1).astype(np.float64), "STEP"
        )


def _turns_from_y(lines: Array) -> Array:
    """Quaternions `(T, 4)`, x y z w, that turn +y to each of `lines` `(T, 3)`, by the shortest way from the last.

    So a stick does not spin about itself where it passes some direction.
    """
    ends = lines / np.maximum(np.linalg.norm(lines, axis=1, keepdims=True), 1e-12)
    begins = np.concatenate(([(0.0, 1.0, 0.0)], ends[:-1]))
    cosines = (begins * ends).sum(1)
    steps = np.column_stack((np.cross(begins, ends), 1 + cosines))
    opposite = cosines < -1 + 1e-9  # no way is the shortest: about any axis across will do
    steps[opposite, :3] = np.cross(begins[opposite], np.eye(3)[np.abs(begins[opposite]).argmin(1)])
    turns = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    reach = 1
    while reach < len(turns):  # every turn after all before it: products of ever longer runs
        turns[reach:] = _products(turns[reach:], turns[:-reach])
        turns /= np.linalg.norm(turns, axis=1, keepdims=True)
        reach *= 2
    return np.asarray(turns)


def _products(p: Array, q: Array) -> Array:
    """Hamilton's products of quaternions `(T, 4)`, x y z w: q first, then p."""
    vectors = p[:, 3:] * q[:, :3] + q[:, 3:] * p[:, :3] + np.cross(p[:, :3], q[:, :3])
    return np.column_stack((vectors, p[:, 3] * q[:, 3] - (p[:, :3] * q[:, :3]).sum(1)))


def _side(joint: str) -> str:
    side = joint.partition("_")[0]
    return side if side in _COLOURS else "middle"


_SIDES = tuple(_COLOURS)


class _Document:
    """A glTF document under way, and its buffer. Meshes: a ball of each side's colour, then a stick of each."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self._samplers: list[dict[str, Any]] = []
        self._channels: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []
        self._views: list[dict[str, Any]] = []
        self._buffer = bytearray()
        self._times: dict[bytes, int] = {}
        faces = self._accessor(_FACES.astype("<u2").ravel(), "SCALAR", 34963)
        stick = _CORNERS * (_STICK, 0.5, _STICK) + (0, 0.5, 0)
        shapes = [self._accessor(shape.astype("<f4"), "VEC3", 34962) for shape in (_CORNERS * _BALL, stick)]
        self._meshes = [
            {"name": name, "primitives": [{"attributes": {"POSITION": shape}, "indices": faces, "material": side}]}
            for name, shape in zip(("ball", "stick"), shapes, strict=True)
            for side in range(len(_SIDES))
        ]

    def node(self, name: str, **fields: Any) -> int:
        self.nodes.append({"name": name, **fields})
        return len(self.nodes) - 1

    def animate(self, node: int, path: str, times: Array, values: Array, interpolation: str = "LINEAR") -> None:
        """Keys of a node's translation, rotation or scale; none at all leave it as it is."""
        if not len(times):
            return
        keys = times.astype("<f4")
        if keys.tobytes() not in self._times:
            self._times[keys.tobytes()] = self._accessor(keys, "SCALAR")
        output = self._accessor(values.astype("<f4"), f"VEC{values.shape[1]}")
        self._channels.append({"sampler": len(self._samplers), "target": {"node": node, "path": path}})
        self._samplers.append({"input": self._times[keys.tobytes()], "output": output, "interpolation": interpolation})

    def encode(self, roots: list[int], extras: dict[str, Any]) -> bytes:
        scene = {"nodes": roots} if roots else {}
        animations = [{"name": "pose", "samplers": self._samplers, "channels": self._channels}]
        document = {
            "asset": {"version": "2.0", "generator": "Synpose", "extras": extras},
            "scene": 0,
            "scenes": [scene],
            **({"nodes": self.nodes} if self.nodes else {}),
            **({"animations": animations} if self._channels else {}),
            "meshes": self._meshes,
            "materials": [
                {"name": side, "pbrMetallicRoughness": {"baseColorFactor": [*colour, 1], "metallicFactor": 0}}
                for side, colour in _COLOURS.items()
            ],
            "accessors": self._accessors,
            "bufferViews": self._views,
            "buffers": [{"byteLength": len(self._buffer)}],
        }
        text = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
        chunks = [_chunk(b"JSON", text, b" "), _chunk(b"BIN\0", bytes(self._buffer), b"\0")]
        body = b"".join(chunks)
        return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body

    def _accessor(self, values: NDArray[Any], kind: str, target: int | None = None) -> int:
        self._buffer += b"\0" * (-len(self._buffer) % 4)
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self._buffer), "byteLength": values.nbytes}
        self._views.append(view if target is None else {**view, "target": target})
        self._buffer += values.tobytes()
        rows = values.reshape(len(values), -1)
        self._accessors.append(
            {
                "bufferView": len(self._views) - 1,
                "componentType": _FLOAT if values.dtype == np.float32 else _UINT16,
                "count": len(values),
                "type": kind,
                "min": rows.min(0).tolist(),
                "max": rows.max(0).tolist(),
            }
        )
        return len(self._accessors) - 1


def _chunk(kind: bytes, content: bytes, padding: bytes) -> bytes:
    content += padding * (-len(content) % 4)
    return struct.pack("<I4s", len(content), kind) + content
