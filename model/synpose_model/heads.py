"""From related image tokens to joints: through the rays, which carries over to rigs never seen, or straight."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from synpose.skeleton import BODY27, Skeleton, get_skeleton
from synpose_model.intersection import across, normal_matrix
from synpose_model.neighbours import around
from synpose_model.relation import RelationConfig

__all__ = ["Aim", "Aimed", "RegressionHead", "Smoother", "mirror", "parts"]

_ROBUST = 0.08  # metres from joint to ray at which the ray counts a quarter, as in `RobustTriangulation`
_TIE = 1e-4  # weight of the first guess against the rays: decides only what the rays leave open


def mirror(skeleton: Skeleton = BODY27) -> Tensor:
    """For each joint the one on the other side, `(J,)`."""
    return torch.from_numpy(skeleton.mirror)


def parts(skeleton: Skeleton = BODY27) -> Tensor:
    """Which joints belong to which part, arms, legs or face, `(parts, J)` of 0 and 1; mid-body joints to none."""
    return torch.from_numpy(skeleton.exchanged_parts).float()


class Aimed(NamedTuple):
    """Where the rays meet: `joints` `(B, T, 3, J)` and each view's say, `weights` `(B, T, V, J)`.

    `exchanged` `(B, T, V, parts)` are the logits of left and right being exchanged.
    """

    joints: Tensor
    weights: Tensor
    exchanged: Tensor


class Aim(nn.Module):
    """Rays put right and weighed, and their robust intersection.

    Per view: whether arms, legs or face are exchanged between left and right, a weight and a small shift of each ray.
    Untrained it is the robust intersection of the rays weighted by score.
    """

    def __init__(self, config: RelationConfig) -> None:
        super().__init__()
        J, dim = config.joints, config.dim
        self.weights = nn.Linear(dim, J)
        self.shifts = nn.Linear(dim, 3 * J)
        self.exchange = nn.Linear(dim, len(parts()))
        for layer in (self.weights, self.shifts, self.exchange):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.exchange.bias, -5.0)
        self.register_buffer("mirror", mirror(get_skeleton(config.skeleton)), persistent=False)
        self.register_buffer("parts", parts(get_skeleton(config.skeleton)), persistent=False)
        self.mirror: Tensor
        self.parts: Tensor

    def forward(self, x: Tensor, origins: Tensor, directions: Tensor, scores: Tensor, guess: Tensor) -> Aimed:
        """All in the person's frame: tokens `x` `(B, T, V, dim)`, `origins` `(B, T, V, 3, 1)`, `directions`
        `(B, T, V, 3, J)`, `scores` `(B, T, V, J)` with 0 where nothing is seen, the last `guess` `(B, T, 3, J)`.
        """
        exchanged = self.exchange(x)  # (B, T, V, parts)
        both = (scores > 0) & (scores[..., self.mirror] > 0)  # what is hidden has nothing to be exchanged with
        cross = both * (exchanged.sigmoid() @ self.parts)  # (B, T, V, J)
        directions = directions + cross[..., None, :] * (directions[..., self.mirror] - directions)
        directions = directions / directions.square().sum(-2, keepdim=True).clamp(min=1e-12).sqrt()
        scores = scores + cross * (scores[..., self.mirror] - scores)
        weights = scores * (4.0 * (self.weights(x) / 4.0).tanh()).exp()
        shift = 0.3 * (self.shifts(x).unflatten(-1, (-1, 3)).transpose(-1, -2) / 0.3).tanh()
        local = origins + across(shift, directions)  # (B, T, V, 3, J)
        joints = _intersect(local, directions, weights, guess)
        away = across(joints[:, :, None] - local, directions).square().sum(-2)
        robust = weights * (_ROBUST**2 / (_ROBUST**2 + away)).square()
        joints = _intersect(local, directions, robust, guess)
        share = robust / robust.sum(2, keepdim=True).clamp(min=1e-9)
        return Aimed(joints, share, exchanged)


class Smoother(nn.Module):
    """From where the rays meet at each instant to the answer: smoothed over time, with a residual and sigma.

    Untrained it changes nothing.
    """

    def __init__(self, config: RelationConfig) -> None:
        super().__init__()
        self.config = config
        J, dim = config.joints, config.dim
        self.pool = nn.Linear(dim, 1)
        self.kernel = nn.Linear(dim, 2 * J * (2 * config.smoothing + 1))
        # how many instants there are before and after, as far as smoothing reaches: at the ends it must not lag
        self.before = nn.Embedding(config.smoothing + 1, dim)
        self.after = nn.Embedding(config.smoothing + 1, dim)
        self.sigma = nn.Linear(dim, J)
        self.residual = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, 3 * J))
        for layer in (self.pool, self.kernel, self.sigma, self.residual[-1]):
            assert isinstance(layer, nn.Linear)
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        for table in (self.before, self.after):
            nn.init.normal_(table.weight, std=0.5)
        base = torch.zeros(2, J, 2 * config.smoothing + 1)
        base[0, :, config.smoothing] = 6.0  # all weight on the instant itself
        self.kernel.bias.data = base.flatten()

    def forward(self, x: Tensor, joints: Tensor, sigma: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens `x` `(B, T, V, dim)`, `joints` `(B, T, 3, J)` in the world, `sigma` `(B, T, J)` of the first guess,
        `mask` `(B, T, V)`. Answers joints, what is to be added to them in the person's frame, and sigma.
        """
        pooled = self.pool(x) + torch.where(mask, 0.0, -1e4)[..., None]  # (B, T, V, 1)
        there = mask.any(-1)
        frame = (pooled.softmax(2) * x).sum(2) + self._edges(there)  # (B, T, dim)
        joints = self._smooth(joints, self.kernel(frame), there)
        residual = torch.zeros_like(joints)
        if self.config.residual:
            # in units of sigma: where the rays agree there is little to add
            residual = sigma[..., None, :] * self.residual(frame).unflatten(-1, (-1, 3)).transpose(-1, -2)
        return joints, residual, sigma * (3.0 * (self.sigma(frame) / 3.0).tanh()).exp()

    def _edges(self, there: Tensor) -> Tensor:
        """What tells an instant `(B, T)` how near the ends of its clip it is, `(B, T, dim)`."""
        h = self.config.smoothing
        valid = around(there.long(), h)  # (B, T, 2h+1)
        out: Tensor = self.before(valid[..., :h].sum(-1)) + self.after(valid[..., h + 1 :].sum(-1))
        return out

    def _smooth(self, joints: Tensor, kernel: Tensor, there: Tensor) -> Tensor:
        """Each joint as a weighted mean of itself at the instants around; the weights add up to one."""
        h = self.config.smoothing
        parts: Tensor = kernel.unflatten(-1, (2, self.config.joints, 2 * h + 1))  # type: ignore[no-untyped-call]
        soft, signed = parts.unbind(2)  # (B, T, J, 2h+1)
        inside = around(there.to(joints.dtype), h)[:, :, None]  # (B, T, 1, 2h+1)
        weights = (soft + (inside - 1) * 1e4).softmax(-1)
        signed = 0.5 * signed.tanh() * inside
        signed = signed - inside * signed.sum(-1, keepdim=True) / inside.sum(-1, keepdim=True).clamp(min=1)
        weights = (weights + signed).transpose(-1, -2)  # (B, T, 2h+1, J)
        smooth = (around(joints, h) * weights[..., None, :]).sum(2)
        return torch.where(there[..., None, None], smooth, joints)


class RegressionHead(nn.Module):
    """The paper's: joints straight from the mean token of each instant, about the person's centre."""

    def __init__(self, config: RelationConfig) -> None:
        super().__init__()
        self.joints = nn.Linear(config.dim, 4 * config.joints)

    def forward(self, x: Tensor, guess: Tensor, sigma: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `Smoother`; of the guess only the person's centre, its weighted mean, is used."""
        share = mask / mask.sum(-1, keepdim=True).clamp(min=1)
        frame = (share[..., None] * x).sum(2)  # (B, T, dim)
        out = self.joints(frame).unflatten(-1, (-1, 4))  # (B, T, J, 4)
        trust = 1 / sigma.square()
        centre = (trust[..., None, :] * guess).sum(-1, keepdim=True) / trust.sum(-1)[..., None, None]  # (B, T, 3, 1)
        sigma = 0.1 * (3.0 * (out[..., 3] / 3.0).tanh()).exp()
        return centre.expand_as(guess), out[..., :3].transpose(-1, -2), sigma


def _intersect(origins: Tensor, directions: Tensor, weights: Tensor, guess: Tensor) -> Tensor:
    """Rays and, with hardly any weight, the guess: a joint with one ray is the point of it nearest to the guess.

    `origins`, `directions` `(B, T, V, 3, J)`, `weights` `(B, T, V, J)`, `guess` `(B, T, 3, J)` → `(B, T, 3, J)`.
    """
    share = weights / (weights.sum(2, keepdim=True) + 1e-6)
    # about the guess: small numbers keep float32 exact; what rounding leaves along a single ray, only the guess's small
    # weight holds against: so twice
    offset = across(across(origins - guess[:, :, None], directions), directions)
    b = (share[..., None, :] * offset).sum(2)  # (B, T, 3, J)
    return guess + normal_matrix(directions, share, share.sum(2) + _TIE).solve(b)
