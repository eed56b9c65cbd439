"""Cameras and rigs: the pinhole model with OpenCV's distortions, world to pixels and back to rays.

Frames: *world* is that of the calibration, in metres; *camera* has x right, y down, z forward; *image* is pixels
with (0, 0) at the centre of the top-left pixel. A camera maps world to camera by `x_cam = R x_world + t`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal
from unicodedata import category

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synpose.errors import CalibrationError

__all__ = ["Camera", "Rig"]

Array = NDArray[np.float64]

_NAME_LENGTH = 200  # names travel in headers and trailers of errors
_CODEC_PADDING = 16  # codecs work in blocks of up to 16 pixels; a size that differs by less was padded or trimmed


@dataclass(frozen=True, eq=False)
class Camera:
    """One calibrated camera; frozen, so a change of image size gives a new one (`resized`).

    `size` is (width, height) in pixels, `K` (3, 3) in pixels, `R` (3, 3) and `t` (3,) world to camera in metres.
    `distortion` holds 0, 4, 5 or 8 coefficients in OpenCV's order (k1 k2 p1 p2 k3 k4 k5 k6), or for the
    `fisheye` model 4 (k1 k2 k3 k4). Raises `CalibrationError`, naming camera and field, for anything that is not
    a camera.
    """

    name: str
    size: tuple[int, int]
    K: Array
    R: Array
    t: Array
    distortion: Array
    model: Literal["pinhole", "fisheye"] = "pinhole"

    def __init__(
        self,
        name: str,
        size: Sequence[int],
        K: ArrayLike,
        R: ArrayLike,
        t: ArrayLike,
        distortion: ArrayLike = (),
        model: Literal["pinhole", "fisheye"] = "pinhole",
    ) -> None:
        def fail(field: str, message: str) -> CalibrationError:
            return CalibrationError(message, field=f"calibration.{field}", camera=str(name))

        def array(field: str, value: ArrayLike, *shape: int) -> Array:
            try:
                result = np.array(value, dtype=np.float64).reshape(shape)
            except (TypeError, ValueError, OverflowError):
                shown = "×".join(map(str, shape)) if shape != (-1,) else "a list of"
                raise fail(field, f"{field} must be {shown} numbers") from None
            if not np.isfinite(result).all():
                raise fail(field, f"{field} holds a number that is not finite")
            result.flags.writeable = False
            return result

        if not isinstance(name, str) or not name.strip():
            raise CalibrationError("every camera needs a name", field="calibration.name")
        if len(name) > _NAME_LENGTH or any(category(letter) in ("Cc", "Cs") for letter in name):
            raise CalibrationError(
                f"the camera's name {name!a:.40} is longer than {_NAME_LENGTH} characters, or one of them is no text",
                field="calibration.name",
            )
        try:
            width, height = (int(side) for side in size)
        except (TypeError, ValueError, OverflowError):
            raise fail("size", "size must be (width, height) in pixels") from None
        if width <= 0 or height <= 0:
            raise fail("size", f"size must be positive, not {width}×{height}")
        K, R, t = array("K", K, 3, 3), array("R", R, 3, 3), array("t", t, 3)
        distortion = array("distortion", distortion, -1)
        if K[0, 0] <= 0 or K[1, 1] <= 0 or abs(np.linalg.det(K)) < 1e-9 or not np.allclose(K[2], (0, 0, 1)):
            raise fail("K", "K is not an intrinsic matrix: it needs positive focal lengths and a last row of 0 0 1")
        if np.abs(R @ R.T - np.eye(3)).max() > 1e-3 or np.linalg.det(R) < 0:
            raise fail("R", "R is not a rotation: its rows must be orthonormal and its determinant +1")
        if model not in ("pinhole", "fisheye"):
            raise fail("model", f"model must be pinhole or fisheye, not {model!r}")
        allowed = (0, 4) if model == "fisheye" else (0, 4, 5, 8)
        if len(distortion) not in allowed:
            raise fail("distortion", f"a {model} camera has {allowed} distortion coefficients, not {len(distortion)}")
        for field, value in zip(
            ("name", "size", "K", "R", "t", "distortion", "model"),
            (name, (width, height), K, R, t, distortion, model),
            strict=True,
        ):
            object.__setattr__(self, field, value)

    @cached_property
    def center(self) -> Array:
        """The camera's centre `(3,)` in the world frame."""
        return -self.R.T @ self.t

    def to_camera(self, points: ArrayLike) -> Array:
        """World points `(..., 3)` in the camera frame."""
        return np.asarray(points, dtype=np.float64) @ self.R.T + self.t

    def project(self, points: ArrayLike) -> Array:
        """World points `(..., 3)` to distorted pixels `(..., 2)`; NaN for points behind the camera."""
        cam = self.to_camera(points)
        depth = np.where(cam[..., 2:] > 1e-6, cam[..., 2:], np.nan)
        return self._to_pixels(self._distort(cam[..., :2] / depth))

    def undistort(self, pixels: ArrayLike) -> Array:
        """Pixels `(..., 2)` to the normalised image plane z = 1 of the camera frame `(..., 2)`.

        Inverts the lens by Newton's method (Jacobian by central differences), which converges
        where OpenCV's fixed-point iteration does not. NaN where the lens model has no inverse.
        """
        pixels = np.asarray(pixels, dtype=np.float64)
        y = (pixels[..., 1] - self.K[1, 2]) / self.K[1, 1]
        x = (pixels[..., 0] - self.K[0, 2] - self.K[0, 1] * y) / self.K[0, 0]
        target = np.stack((x, y), -1)
        if not self.distortion.any():
            return target
        guess = target.copy()
        if self.model == "fisheye":  # r_d = theta (1 + ...): the equidistant lens is the better start
            radius = np.linalg.norm(target, axis=-1, keepdims=True)
            guess *= np.tan(np.clip(radius, 0, 1.5)) / np.maximum(radius, 1e-9)
        h = 1e-6
        # the point itself, then right, left, below and above it: one call of the lens for all five
        beside = h * np.array(((0.0, 0.0), (1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)))
        beside = beside.reshape(5, *(1,) * (guess.ndim - 1), 2)
        for _ in range(12):
            here, right, left, below, above = self._distort(guess + beside)
            error = here - target
            dx, dy = (right - left) / (2 * h), (below - above) / (2 * h)
            det = dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]
            det = np.where(np.abs(det) > 1e-9, det, np.nan)
            step_x = (dy[..., 1] * error[..., 0] - dy[..., 0] * error[..., 1]) / det
            step_y = (dx[..., 0] * error[..., 1] - dx[..., 1] * error[..., 0]) / det
            step = np.stack((step_x, step_y), -1)
            guess = guess - step
            if not (np.abs(step) > 1e-6).any():  # what is left is its square
                break
        missed = np.abs(self._distort(guess) - target).max(-1, keepdims=True)
        return np.where(missed < 1e-4, guess, np.nan)

    def rays(self, pixels: ArrayLike) -> Array:
        """Pixels `(..., 2)` to unit directions `(..., 3)` in the world frame, leaving from `center`."""
        plane = self.undistort(pixels)
        direction = np.concatenate((plane, np.ones_like(plane[..., :1])), -1)
        direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
        return direction @ self.R

    def resized(self, size: tuple[int, int]) -> Camera:
        """The same camera as a video of `size` (width, height) shows it.

        The same shape is a scaling. A side up to 16 px off is the padding or trimming of a codec at the right and
        lower edge, which leaves K as it is. Anything else raises `CalibrationError`: the calibration was made for
        other images.
        """
        (w0, h0), (w, h) = self.size, size
        if abs(w - w0) <= _CODEC_PADDING and abs(h - h0) <= _CODEC_PADDING:
            return replace(self, size=size)
        scale = np.array((w / w0, h / h0))
        if abs(scale[0] / scale[1] - 1) > 0.005:
            turned = "; the video is turned by 90°" if (w > h) != (w0 > h0) else ""
            raise CalibrationError(
                f"the video is {w}×{h} but the calibration was made for {w0}×{h0}{turned}",
                field="calibration.size",
                camera=self.name,
            )
        K = self.K.copy()
        K[:2, :2] *= scale[:, None]
        K[:2, 2] = (self.K[:2, 2] + 0.5) * scale - 0.5  # pixel centres sit at whole numbers
        return replace(self, size=size, K=K)

    def _to_pixels(self, plane: Array) -> Array:
        pixels: Array = plane @ self.K[:2, :2].T + self.K[:2, 2]
        return pixels

    def _distort(self, plane: Array) -> Array:
        """Ideal to distorted points of the normalised plane `(..., 2)` (OpenCV's calib3d equations)."""
        if not self.distortion.any():
            return plane
        x, y = plane[..., 0], plane[..., 1]
        r2 = x * x + y * y
        if self.model == "fisheye":
            r = np.sqrt(np.maximum(r2, 1e-18))
            theta = np.arctan(r)
            k1, k2, k3, k4 = self.distortion
            q = theta * theta
            scale: Array = theta * (1 + q * (k1 + q * (k2 + q * (k3 + q * k4)))) / r
            return plane * scale[..., None]
        k1, k2, p1, p2, k3, k4, k5, k6 = (*self.distortion, 0.0, 0.0, 0.0, 0.0)[:8]
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        return np.stack(
            (
                x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
            ),
            -1,
        )


@dataclass(frozen=True, eq=False)
class Rig:
    """Named cameras that share one world frame. Raises `CalibrationError` when empty or when a name is doubled."""

    cameras: tuple[Camera, ...]

    def __post_init__(self) -> None:
        if not self.cameras:
            raise CalibrationError("the calibration holds no camera", field="calibration")
        seen: set[str] = set()
        for camera in self.cameras:
            if camera.name in seen:
                raise CalibrationError("two cameras have this name", field="calibration", camera=camera.name)
            seen.add(camera.name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(camera.name for camera in self.cameras)

    def __len__(self) -> int:
        return len(self.cameras)

    def __iter__(self) -> Iterator[Camera]:
        return iter(self.cameras)

    def __getitem__(self, name: str) -> Camera:
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise CalibrationError(
            f"the calibration has no such camera; it has {', '.join(self.names)}", field="calibration", camera=name
        )

    def subset(self, names: Sequence[str]) -> Rig:
        """The rig of the named cameras, in that order."""
        return Rig(tuple(self[name] for name in names))
