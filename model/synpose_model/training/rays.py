"""The task `rays`: the relation module on rays alone, simulated without end from motions and recorded errors.

`--data` is a folder with `poses_train.npz`, `poses_validation.npz` (of `synpose render training`) and
`errors_train.npz`, `errors_validation.npz` (of `synpose render errors`); with `recorded`, also with
`sightings_train.npz` (of `synpose render sightings`) and, where it is there, `sightings_served.npz` (of `synpose render
served`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from synpose.errors import InvalidInput
from synpose.skeleton import BODY27
from synpose_model.data.errors import MIRROR, Errors, read_errors
from synpose_model.data.poses import Poses, read_poses
from synpose_model.data.rigs import Rays, present, simulate
from synpose_model.data.sightings import (
    MOST_VIEWS,
    SERVED,
    Sighting,
    SightingWindows,
    draw_windows,
    read_sightings,
)
from synpose_model.heads import parts
from synpose_model.lifting import LiftingNetwork
from synpose_model.relation import RelationConfig
from synpose_model.training.task import TaskSpec

__all__ = ["SPEC", "RaysConfig", "RaysTask", "pose_loss", "recorded"]

_VIEWS = np.array((0.25, 0.26, 0.18, 0.12, 0.07, 0.06, 0.03, 0.03))  # chance of 1 to 8 cameras: few are hardest
_FAR_OFF = 0.06  # metres between a ray and its joint that an exchange of left and right must explain
_LIMBS, _PAIRS = np.array(BODY27.limb_joints), np.array([*BODY27.bones])
_PART_SHARES = (parts() / parts().sum(-1, keepdim=True)).numpy().T  # (27, parts)
_FEET = [j for j, name in enumerate(BODY27.joints) if "toe" in name or "heel" in name]


@dataclass(frozen=True)
class RaysConfig:
    """`[task]` of `rays`."""

    network: RelationConfig = field(default_factory=RelationConfig)
    batch: int = 48
    recorded: float = 0.0  # share of the batches that are recorded sequences: errors that go with the pose and the view
    hard: float = 1.0  # how often cameras, clocks and calibrations are wrong; see `data.rigs.simulate`
    acceleration: float = 0.25  # weight of the error's second difference: steady joints
    bones: float = 0.25  # weight of the bones' length error
    sigma: float = 0.004  # weight of the likelihood of sigma
    exchange: float = 0.05  # weight of telling whose left and right are exchanged


class RaysTask:
    """Batches of simulated rays, and the loss that `pose_loss` is."""

    calibration = "validation"
    """The split on which sigma is fitted."""

    def __init__(self, config: RaysConfig, data: Path | None) -> None:
        self.config, self._data = config, data

    def build(self) -> nn.Module:
        return _Trained(self.config.network)

    def batch(self, step: int, rank: int, generator: np.random.Generator) -> Mapping[str, Tensor]:
        rng, window = generator, self.config.network.window
        views = int(rng.choice(len(_VIEWS), p=_VIEWS)) + 1
        length = int(rng.integers(4, window + 1)) if rng.random() < 0.5 else (1 if rng.random() < 0.1 else window)
        count = max(4, round(self.config.batch * 4 * window / (max(views, 2) * max(length, 4))))  # alike in cost
        count = min(count, 6 * self.config.batch)
        if self.config.recorded and rng.random() < self.config.recorded:
            windows = _varied(rng, draw_windows(rng, self._recorded, count, length, min(views, MOST_VIEWS)))
            exchanged = (_swapped(windows) @ _PART_SHARES).astype(np.float32)
            return {**recorded(rng, windows, self.config.hard), "exchanged": torch.from_numpy(exchanged)}
        return self.sample(rng, "train", count, length, views, self.config.hard)

    def loss(self, network: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        joints, sigma, exchanged = network(*self._inputs(batch))
        loss, numbers = pose_loss(joints, sigma, batch["joints"], batch["view_mask"], self.config)
        if exchanged and "exchanged" in batch:
            loss = loss + self.config.exchange * _exchange_loss(exchanged, batch)
        return loss, numbers

    def validate(self, network: nn.Module) -> Mapping[str, float]:
        """Mean errors of limb joints in mm in the middle of whole windows, by number of cameras.

        `last` is that of the newest instant, `robust` that of robust triangulation, which it must beat."""
        assert isinstance(network, LiftingNetwork), network
        window = self.config.network.window
        out: dict[str, float] = {}
        device = next(network.parameters()).device
        for views in (1, 2, 3, 4, 6):
            rng = np.random.default_rng((9, views))
            batch = dict(self.sample(rng, "validation", 96, window, views, 0.3))
            batch = {name: value.to(device) for name, value in batch.items()}
            joints, sigma, _ = network(*self._inputs(batch))
            truth = batch["joints"]
            if views == 1:
                joints, truth = (part - part[:, :, 18:19] for part in (joints, truth))
            error = (joints - truth).norm(dim=-1)  # (B, T, J)
            middle = error[:, window // 2]
            out[f"mm_{views}"] = 1e3 * float(middle[:, _LIMBS].mean())
            if views == 1:
                continue
            robust = network.triangulate(*self._inputs(batch)[:4])[0][:, window // 2, _LIMBS]
            out[f"robust_{views}"] = 1e3 * float((robust - truth[:, window // 2, _LIMBS]).norm(dim=-1).nanmean())
            out[f"within_{views}"] = float((middle < sigma[:, window // 2]).float().mean())
            if views == 4:
                second = joints[:, 2:] - 2 * joints[:, 1:-1] + joints[:, :-2]
                out["jitter_4"] = 1e3 * float(second[:, :, _LIMBS].norm(dim=-1).median())
                out["last_4"] = 1e3 * float(error[:, -1][:, _LIMBS].mean())
                out["feet_4"] = 1e3 * float(middle[:, _FEET].mean())
        out["mm"] = (out["mm_2"] + out["mm_3"] + out["mm_4"] + out["mm_6"]) / 4
        return out

    def fit_sigma(self, network: LiftingNetwork, instant: int) -> None:
        """Set `network.sigma_scale` so that of each number of views 68 % of the joints lie within sigma.

        On the split `calibration`, at position `instant` of whole windows: the one that will be served. Numbers of
        views that no clip has keep the scale of the largest that one has.
        """
        window = self.config.network.window
        scales = torch.ones_like(network.sigma_scale)
        network.sigma_scale.copy_(scales)
        for views in range(1, len(scales)):
            rng = np.random.default_rng((10, views))
            batch = self.sample(rng, self.calibration, 384, window, views, 0.3)
            with torch.inference_mode():
                joints, sigma, _ = network(*self._inputs(batch))
            truth = batch["joints"]
            ratio = ((joints - truth).norm(dim=-1) / sigma)[:, instant]
            ratio = ratio[batch["view_mask"][:, instant].sum(-1) == views]
            ratio = ratio[ratio.isfinite()]
            scales[views] = ratio.quantile(0.6827) if len(ratio) else scales[views - 1]
        network.sigma_scale.copy_(scales)

    def sample(
        self, rng: np.random.Generator, split: str, count: int, length: int, views: int, hard: float
    ) -> Mapping[str, Tensor]:
        """`count` windows of `length` instants and `views` cameras of a `split`, as the network reads them."""
        return _tensors(_draw(rng, self._poses[split], self._errors[split], count, length, views, hard))

    def _inputs(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """What the network reads: of the joints, those that are keypoints."""
        K = self.config.network.keypoints
        rays = batch["origins"], batch["directions"][..., :K, :], batch["scores"][..., :K], batch["view_mask"]
        return (*rays, batch["tokens"]) if self.config.network.token else rays

    @cached_property
    def _poses(self) -> dict[str, Poses]:
        return {split: read_poses(self.folder / f"poses_{split}.npz") for split in ("train", "validation")}

    @cached_property
    def _errors(self) -> dict[str, Errors]:
        return {split: read_errors(self.folder / f"errors_{split}.npz") for split in ("train", "validation")}

    @cached_property
    def _recorded(self) -> list[Sighting]:
        served = self.folder / SERVED
        return read_sightings(self.folder / "sightings_train.npz") + (read_sightings(served) if served.exists() else [])

    @property
    def folder(self) -> Path:
        """The folder of `--data`; raises `InvalidInput` where none was given."""
        if self._data is None:
            raise InvalidInput("this task needs --data: the folder that `synpose render` filled", field="data")
        return self._data


SPEC = TaskSpec(RaysConfig, RaysTask)


def recorded(rng: np.random.Generator, windows: SightingWindows, hard: float) -> dict[str, Tensor]:
    """`windows` as the network reads them; `hard` is how often images are missing."""
    B, T, V, _ = windows.origins.shape
    mask = present(rng, B, T, V, hard)
    middle = windows.joints.mean((1, 2), keepdims=True)  # about the middle, as the server gives them
    return {
        "origins": torch.from_numpy(windows.origins - middle),
        "directions": torch.from_numpy(windows.directions),
        "scores": torch.from_numpy(windows.scores * mask[..., None]),
        "tokens": torch.from_numpy(windows.tokens),
        "view_mask": torch.from_numpy(mask),
        "joints": torch.from_numpy(windows.joints - middle),
    }


class _Trained(LiftingNetwork):
    """While training, what is told of exchanged sides takes the place of the view weights."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Any]:  # type: ignore[override]
        joints, sigma, weights, exchanged = self.answer(*inputs)
        return joints, sigma, exchanged if self.training else weights


def _exchange_loss(exchanged: Sequence[Tensor], batch: Mapping[str, Tensor]) -> Tensor:
    """Cross-entropy of telling which parts of which views are exchanged between left and right."""
    wanted = batch["exchanged"]  # (B, T, V, parts): share of the part's keypoints
    weight = batch["view_mask"][..., None] * (2 * wanted - 1).abs()  # half exchanged is neither
    losses = [
        (
            weight
            * functional.binary_cross_entropy_with_logits(logits, (wanted > 0.5).to(logits.dtype), reduction="none")
        )
        for logits in exchanged
    ]
    return torch.stack(losses).mean()


def pose_loss(
    joints: Tensor, sigma: Tensor, truth: Tensor, mask: Tensor, config: RaysConfig
) -> tuple[Tensor, dict[str, float | Tensor]]:
    """What `joints` and `sigma` `(B, T, 27[, 3])` cost against `truth`.

    `mask` `(B, T, V)` tells where there is an answer. In metres: the mean error in the world and about the pelvis, of
    the second difference, of bone lengths; and sigma's likelihood. With one camera the distance is a guess, so the
    pose about the pelvis counts most.
    """
    there = mask.any(-1)  # (B, T)
    joints = torch.where(there[..., None, None], joints, truth)
    error = joints - truth
    distance = error.square().sum(-1).add(1e-8).sqrt()  # (B, T, J)
    relative = error - error[:, :, 18:19]
    about = relative.square().sum(-1).add(1e-8).sqrt()
    single = mask.any(1).sum(-1) < 2  # (B,)
    world = torch.where(single, 0.3, 1.0)[:, None, None]
    position = (world * distance.clamp(max=2.0)).mean() + 0.5 * about.mean()
    ends = torch.as_tensor(_PAIRS, device=joints.device)
    lengths, true = (
        (x[:, :, ends[:, 0]] - x[:, :, ends[:, 1]]).square().sum(-1).add(1e-8).sqrt() for x in (joints, truth)
    )
    bones = (lengths - true).abs().mean()
    loss = position + config.bones * bones
    if joints.shape[1] > 2:
        second = error[:, 2:] - 2 * error[:, 1:-1] + error[:, :-2]
        loss = loss + config.acceleration * second.square().sum(-1).add(1e-8).sqrt().mean()
    # a radius with 68 % inside, of errors whose density falls off exponentially in three dimensions
    sigma = torch.where(there[..., None], sigma, 1.0)
    likelihood = (3 * sigma.log() + 3.5 * distance.detach() / sigma)[there].mean()
    loss = loss + config.sigma * likelihood
    return loss, {
        "mm": 1e3 * distance.detach().mean(),
        "bones_mm": 1e3 * bones.detach(),
        "likelihood": likelihood.detach(),
    }


def _varied(rng: np.random.Generator, windows: SightingWindows) -> SightingWindows:
    """`windows` seen in a mirror or not, forwards or backwards, of people who are a little smaller or larger."""
    if rng.random() < 0.5:
        windows = SightingWindows(*(part[:, ::-1].copy() for part in windows))
    origins, directions, scores, tokens, joints = windows
    size = rng.uniform(0.92, 1.08, (len(joints), 1, 1, 1)).astype(np.float32)
    if rng.random() < 0.5:
        across = np.array((-1, 1, 1), np.float32)
        origins, joints = origins * across, joints[:, :, MIRROR] * across
        directions, scores = directions[..., MIRROR, :] * across, scores[..., MIRROR]
    return SightingWindows(origins * size, directions, scores, tokens, joints * size)


def _swapped(windows: SightingWindows) -> NDArray[np.float32]:
    """Which rays `(B, T, V, 27)` pass far from their joint and much nearer to its mirror joint."""

    def off(joints: NDArray[np.float32]) -> NDArray[np.float32]:
        to = joints[:, :, None] - windows.origins[..., None, :]
        return np.asarray(np.linalg.norm(np.cross(to, windows.directions), axis=-1))

    own, other = off(windows.joints), off(windows.joints[:, :, MIRROR])
    return ((own > _FAR_OFF) & (other < 0.5 * own)).astype(np.float32)


def _draw(
    rng: np.random.Generator, poses: Poses, errors: Errors, count: int, length: int, views: int, hard: float
) -> Rays:
    step = 30 / np.exp(rng.uniform(np.log(20), np.log(120), count))  # cameras of 20 to 120 Hz
    joints = poses.windows(rng, count, length, step).astype(np.float64)
    flipped = joints[:, :, MIRROR] * (-1, 1, 1)
    joints = np.where(rng.random((count, 1, 1, 1)) < 0.5, flipped, joints) * rng.uniform(0.92, 1.08, (count, 1, 1, 1))
    return simulate(rng, joints, views, errors, step, hard)


def _tensors(rays: Rays) -> dict[str, Tensor]:
    # about the middle, as the server gives them: numbers stay small
    middle = rays.joints.mean((1, 2), keepdims=True)
    return {
        "origins": torch.from_numpy((rays.origins - middle).astype(np.float32)),
        "directions": torch.from_numpy(rays.directions.astype(np.float32)),
        "scores": torch.from_numpy(rays.scores.astype(np.float32)),
        "view_mask": torch.from_numpy(rays.mask),
        "joints": torch.from_numpy((rays.joints - middle).astype(np.float32)),
        "exchanged": torch.from_numpy((rays.swapped @ _PART_SHARES).astype(np.float32)),
    }
