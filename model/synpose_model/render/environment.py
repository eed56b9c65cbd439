"""The light and the view around a scene: an equirectangular picture of the surroundings, in linear colours."""

from __future__ import annotations

import base64
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import OpenEXR
from numpy.typing import NDArray

from synpose.errors import InvalidInput

__all__ = ["Environment", "environment_files", "plain_environment", "read_environment"]

Single = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Environment:
    """`image` `(H, W, 3)` float32, linear: rows from straight up to straight down, columns once around the z axis.

    Scaled so that a white surface facing up is lit to about 1.
    """

    image: Single

    def irradiance(self) -> Single:
        """The nine spherical-harmonic coefficients `(9, 3)` of the light that falls on a surface, per normal.

        Ramamoorthi and Hanrahan, "An Efficient Representation for Irradiance Environment Maps" (2001), with the
        factor of π of a white diffuse surface divided out.
        """
        directions, area = _grid(self.image.shape[:2])
        x, y, z = directions.reshape(-1, 3).T
        basis = np.stack(
            (
                np.full_like(x, 0.282095), 0.488603 * y, 0.488603 * z, 0.488603 * x,
                1.092548 * x * y, 1.092548 * y * z, 0.315392 * (3 * z * z - 1), 1.092548 * x * z,
                0.546274 * (x * x - y * y),
            )
        )  # fmt: skip
        cosine_lobe = np.array((np.pi, *(2 * np.pi / 3,) * 3, *(np.pi / 4,) * 5))
        # suns are left to the scene's own lamp, which casts shadows: what is brighter would only blur here
        light = np.minimum(self.image.reshape(-1, 3), 8.0)
        return np.asarray((basis * area) @ light * (cosine_lobe / np.pi)[:, None], dtype=np.float32)


def environment_files(folder: Path | None) -> list[Path]:
    """The environment maps in `folder`, sorted: `.exr`, or `.exr.js` as the npm package @pmndrs/assets has them."""
    files = [] if folder is None else sorted((*folder.rglob("*.exr"), *folder.rglob("*.exr.js")))
    if folder is not None and not files:
        raise InvalidInput(f"no .exr or .exr.js environment map in {folder}", field="environments")
    return files


def read_environment(path: Path) -> Environment:
    """The environment map in `path`; raises `InvalidInput` for a file that is not one."""
    try:
        if path.suffix == ".js":
            with tempfile.NamedTemporaryFile(suffix=".exr") as plain:
                plain.write(base64.b64decode(path.read_text().partition("base64,")[2].rstrip(" ;'\"\n")))
                plain.flush()
                image = _read_exr(plain.name)
        else:
            image = _read_exr(str(path))
    except (RuntimeError, KeyError, ValueError, OSError) as error:
        raise InvalidInput(f"{path.name} is not an RGB EXR image: {error}", field="environments") from None
    return _balanced(np.nan_to_num(image, posinf=1e4))


def plain_environment(rng: np.random.Generator) -> Environment:
    """A smooth sky over a darker ground, for scenes without a map."""
    rows = np.linspace(1, -1, 64)[:, None, None]
    sky, haze, ground = rng.uniform(0.3, 1, 3), rng.uniform(0.5, 1, 3), rng.uniform(0.1, 0.4, 3)
    image = np.where(rows > 0, haze + (sky - haze) * np.abs(rows), haze * 0.5 + (ground - haze * 0.5) * np.abs(rows))
    return _balanced(np.broadcast_to(image, (64, 128, 3)))


def _read_exr(name: str) -> NDArray[np.floating]:
    with OpenEXR.File(name) as file:
        return np.array(file.channels()["RGB"].pixels, dtype=np.float32)


def _balanced(image: NDArray[np.floating]) -> Environment:
    directions, area = _grid(image.shape[:2])
    facing = (np.maximum(directions[..., 2], 0) * area.reshape(image.shape[:2]))[..., None]
    received = float((np.minimum(image, 8.0) * facing).sum() / np.pi) / 3
    return Environment(np.asarray(image / max(received, 1e-6), dtype=np.float32))


def _grid(shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Directions `(H, W, 3)` of a map's pixels and the solid angle `(H·W,)` of each."""
    height, width = shape
    polar = (np.arange(height)[:, None] + 0.5) * np.pi / height
    around = (np.arange(width)[None] + 0.5) * 2 * np.pi / width - np.pi
    x, y = np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around)
    directions = np.stack((x, y, np.broadcast_to(np.cos(polar), x.shape)), -1)
    area = np.broadcast_to(np.sin(polar) * (np.pi / height) * (2 * np.pi / width), x.shape)
    return directions, area.reshape(-1)
