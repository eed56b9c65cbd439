"""What happens to a rendered image before a network sees it: compression, blur, things in the way, a jittered crop."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from synpose_model.crop import MARGIN, Crop

__all__ = ["compress", "jittered_crop", "spoil"]

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]


def compress(rng: np.random.Generator, image: Pixels) -> Pixels:
    """`image` `(H, W, 3)` as a codec of random quality leaves it."""
    if rng.random() < 0.3:
        return image
    quality = int(rng.integers(35, 96))
    _, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), dtype=np.uint8)


def jittered_crop(rng: np.random.Generator, pixels: Array, side: int, wild: float = 0.15) -> Crop:
    """A crop around someone whose 17 COCO joints are at `pixels` `(17, 2)`, placed as a tracker's prediction would be.

    Mostly a few percent off, with a chance of `wild` three times that: the first frames of a track are.
    """
    up = pixels[5:7].mean(0) - pixels[11:13].mean(0)
    crop = Crop.around(pixels, 2, MARGIN, up)
    size = 3.0 if rng.random() < wild else 1.0
    width = np.hypot(*crop.transform[:, 0]) * 2 * np.exp(rng.normal(0, 0.04 * size))
    angle = rng.normal(0, np.radians(4) * size) + np.arctan2(crop.transform[1, 0], crop.transform[0, 0])
    centre = crop.transform @ (0.5, 0.5, 1.0) + rng.normal(0, 0.02 * size, 2) * width
    matrix = np.array(((np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle)))) * (width / side)
    shift = centre - matrix @ ((side - 1) / 2, (side - 1) / 2)
    return replace(crop, transform=np.column_stack((matrix, shift)), side=side)


def spoil(rng: np.random.Generator, crop: Pixels, head: Array) -> tuple[Pixels, tuple[int, int, int, int] | None]:
    """`crop` `(side, side, 3)` with what real footage has, and the rectangle (x0, y0, x1, y1) that was covered, if any.

    Motion blur, a pixelated face (`head` `(2,)` is its place, in crop pixels), a thing in front of the person.
    """
    side = len(crop)
    if rng.random() < 0.15:
        length = int(rng.integers(3, 9)) | 1
        kernel = np.zeros((length, length), np.float32)
        kernel[length // 2] = 1 / length
        turn = cv2.getRotationMatrix2D((length // 2, length // 2), float(rng.uniform(0, 180)), 1.0)
        kernel = cv2.warpAffine(kernel, turn, (length, length))
        crop = np.asarray(cv2.filter2D(crop, -1, kernel / max(kernel.sum(), 1e-3)), dtype=np.uint8)
    if rng.random() < 0.06 and np.isfinite(head).all():
        crop = crop.copy()
        reach = int(side * rng.uniform(0.04, 0.08))
        x0, y0 = np.clip(head.astype(int) - reach, 0, side - 8)
        face = crop[y0 : y0 + 2 * reach, x0 : x0 + 2 * reach]
        small = cv2.resize(face, (4, 4), interpolation=cv2.INTER_AREA)
        face[:] = cv2.resize(small, face.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    covered = None
    if rng.random() < 0.2:
        crop = crop.copy()
        width, height = (rng.uniform(0.08, 0.35, 2) * side).astype(int)
        x0, y0 = (rng.uniform(-0.1, 0.95, 2) * side).astype(int).clip(0, side - 4)
        covered = (int(x0), int(y0), int(min(x0 + width, side)), int(min(y0 + height, side)))
        patch = crop[covered[1] : covered[3], covered[0] : covered[2]]
        texture = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        patch[:] = cv2.resize(texture, patch.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return crop, covered
