"""The person's own frame: where the relation module works, so that neither the world's axes nor its origin matter."""

from __future__ import annotations

import torch
from torch import Tensor

from synpose.skeleton import BODY27, Skeleton
from synpose_model.neighbours import around

__all__ = ["body_frame", "first_guess"]

_SPREAD = 0.42  # metres: a person's joints, seen from the side, are about this far (RMS) from their middle
_NEAR = 2  # instants before and after


def first_guess(origins: Tensor, directions: Tensor, scores: Tensor, joints: Tensor, known: Tensor) -> Tensor:
    """A place for every joint, triangulated or not: `(B, T, 3, J)`.

    `origins` `(B, T, V, 3, 1)`, `directions` `(B, T, V, 3, J)`, `scores` `(B, T, V, J)` with 0 for what is not seen;
    `joints` `(B, T, 3, J)` are triangulated where `known` `(B, T, J)`. A joint that is not known lies on its rays as
    far away as the known ones do, or, with none known, as far as a person of usual size would be.
    """
    total = scores.sum(-1)  # (B, T, V)
    share = scores / total.clamp(min=1e-6)[..., None]
    centre = (share[..., None, :] * directions).sum(-1, keepdim=True)  # (B, T, V, 3, 1)
    apart = ((directions - centre).square().sum(-2) * share).sum(-1)  # (B, T, V)
    by_size = _SPREAD / apart.clamp(min=1e-6).sqrt()
    count = known.to(joints.dtype).sum(-1)  # (B, T)
    middle = (joints * known[..., None, :]).sum(-1, keepdim=True) / count.clamp(min=1.0)[..., None, None]
    by_joints = ((middle[:, :, None] - origins) * centre).sum((-2, -1))
    far = torch.where((count > 2)[..., None] & (by_joints > 0), by_joints, by_size.clamp(0.3, 30.0))  # (B, T, V)
    towards = torch.where((scores > 0)[..., None, :], directions, centre)  # (B, T, V, 3, J)
    along = origins + far[..., None, None] * towards
    weights = scores + 1e-6 * (total > 0)[..., None]  # a view that saw something places what it missed, too
    guess = (weights[..., None, :] * along).sum(2) / weights.sum(2).clamp(min=1e-6)[..., None, :]
    return torch.where(known[..., None, :], joints, guess)


def body_frame(joints: Tensor, weights: Tensor, skeleton: Skeleton = BODY27) -> tuple[Tensor, Tensor]:
    """The frame of a person at each instant: centre `(B, T, 3)` and rotation `(B, T, 3, 3)`, whose rows are its axes.

    From `joints` `(B, T, 3, J)`, world, and how far each instant is trusted, `weights` `(B, T)`: x to the person's
    left, z up the trunk, both in the mean over the instants nearby, so that one bad guess does not turn the frame. Not
    over the whole clip: someone who turns a cartwheel has no up in the mean.
    """
    at = {name: joints[..., j] for j, name in enumerate(skeleton.joints)}
    hips, shoulders = ((at[f"left_{part}"] + at[f"right_{part}"]) / 2 for part in ("hip", "shoulder"))
    total = _nearby(weights[..., None]).clamp(min=1e-9)  # (B, T, 1)

    def mean(x: Tensor) -> Tensor:
        return _nearby(weights[..., None] * x) / total

    left = mean(at["left_hip"] - at["right_hip"] + at["left_shoulder"] - at["right_shoulder"])
    up = mean(shoulders - hips)
    z = _unit(up, (0.0, 0.0, 1.0))
    x = _unit(left - (left * z).sum(-1, keepdim=True) * z, (1.0, 0.0, 0.0))
    y = torch.stack(
        (
            z[..., 1] * x[..., 2] - z[..., 2] * x[..., 1],
            z[..., 2] * x[..., 0] - z[..., 0] * x[..., 2],
            z[..., 0] * x[..., 1] - z[..., 1] * x[..., 0],
        ),
        -1,
    )
    return mean((hips + shoulders) / 2), torch.stack((x, y, z), -2)


def _nearby(x: Tensor) -> Tensor:
    """The sum of `x` `(B, T, C)` over each instant and those around it."""
    return around(x, _NEAR).sum(2)


def _unit(x: Tensor, otherwise: tuple[float, float, float]) -> Tensor:
    length = x.square().sum(-1, keepdim=True).clamp(min=1e-12).sqrt()
    return torch.where(length > 1e-3, x / length, torch.tensor(otherwise, dtype=x.dtype, device=x.device))
