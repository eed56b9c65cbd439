"""Typed access to the fields of untrusted calibration files; every failure is a `CalibrationError`."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from synpose.errors import CalibrationError
from synpose.rig import Camera

__all__ = ["camera_of", "entry", "load_json", "numbers", "rotation_of", "rotation_vector"]

Array = NDArray[np.float64]


def load_json(content: str) -> object:
    """The JSON document in `content`, or None where there is none; halves of a character are no text, and no JSON."""
    try:
        document: object = json.loads(content)
        if "\\ud" in content.lower():
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError):  # numbers of thousands of digits are a ValueError too
        return None
    return document


def entry(record: object, key: str, camera: str | None = None) -> object:
    """`record[key]`; `CalibrationError` if `record` is no mapping or lacks the key."""
    if not isinstance(record, Mapping) or key not in record:
        raise CalibrationError(f"{key} is missing", field=f"calibration.{key}", camera=camera)
    return record[key]


def numbers(record: object, key: str, camera: str | None, *counts: int) -> Array:
    """The finite numbers `record[key]`, flattened; `counts` are the allowed numbers of them (none: any)."""
    value = entry(record, key, camera)
    try:
        array = np.array(value, dtype=np.float64).ravel()
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise CalibrationError(f"{key} must hold numbers", field=f"calibration.{key}", camera=camera) from None
    if not np.isfinite(array).all():
        raise CalibrationError(f"{key} holds a number that is not finite", field=f"calibration.{key}", camera=camera)
    if counts and len(array) not in counts:
        wanted = " or ".join(map(str, counts))
        raise CalibrationError(
            f"{key} must hold {wanted} numbers, not {len(array)}", field=f"calibration.{key}", camera=camera
        )
    return array


def rotation_of(values: Array) -> Array:
    """Rotation matrix `(3, 3)` of 9 numbers by row, or of a rotation vector (axis times radians, Rodrigues)."""
    if len(values) == 9:
        return values.reshape(3, 3)
    angle = float(np.linalg.norm(values))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = values / angle
    cross = np.array(((0, -z, y), (z, 0, -x), (-y, x, 0)))
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def rotation_vector(R: Array) -> Array:
    """The rotation vector `(3,)` of `R` `(3, 3)`: what `rotation_of` takes back."""
    axis = np.array((R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]))  # 2 sin(angle) times the axis
    sine, cosine = float(np.linalg.norm(axis)) / 2, (float(np.trace(R)) - 1) / 2
    angle = float(np.arctan2(sine, cosine))
    if sine > 1e-6:
        return np.asarray(axis / (2 * sine) * angle)
    if cosine > 0:
        return np.asarray(axis / 2)
    outer = (R + np.eye(3)) / 2  # a half turn: axis times itself
    column = outer[:, int(np.argmax(np.diag(outer)))]
    return np.asarray(column / np.linalg.norm(column) * angle)


def camera_of(
    name: object, size: Array, K: Array, R: Array, t: Array, distortion: Array, *, fisheye: bool = False
) -> Camera:
    """A camera of flat arrays. Names that are numbers become text; zeros after OpenCV's eighth coefficient go."""
    if isinstance(name, int):
        name = str(name)
    if not isinstance(name, str):
        raise CalibrationError("a camera's name must be text", field="calibration.name")
    if len(distortion) > 8 and not distortion[8:].any():
        distortion = distortion[:8]
    return Camera(
        name,
        tuple(round(side) for side in size.tolist()),
        K.reshape(3, 3),
        rotation_of(R),
        t,
        distortion,
        "fisheye" if fisheye else "pinhole",
    )
