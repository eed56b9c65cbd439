"""From related image tokens to joints: through the rays, which carries over to rigs never seen, or straight."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from synpose.skeleton import BODY27, Skeleton, get_skeleton
from synpose_model.relation import RelationConfig

__all__ = ["Aim", "Aimed", "RegressionHead", "Smoother", "mirror", "parts"]

_ROBUST = 0.08  # metres from joint to ray at which the ray counts a quarter, as in `RobustTriangulation`
_TIE = 1e-4  # weight of the first guess against the rays: decides only what the rays leave open

_MINORS = [
    [3 * ((i + p) % 3) + (j + q) % 3 for i in range(3) for j in range(3)] for p, q in ((1, 1), (2, 2), (1, 2), (2, 1))
]
"""Places of the four numbers of each cofactor of a 3×3 matrix: the first two's product less the last two's."""


def mirror(skeleton: Skeleton = BODY27) -> Tensor:
    """For each joint the one on the other side, `(J,)`."""
    return torch.from_numpy(skeleton.mirror)


def parts(skeleton: Skeleton = BODY27) -> Tensor:
    """Which joints belong to which part, arms, legs or face, `(parts, J)` of 0 and 1; mid-body joints to none."""
    return torch.from_numpy(skeleton.exchanged_parts).float()


class Aimed(NamedTuple):
    """Where the rays meet: `joints` `(B, T, J, 3)` and each view's say, `weights` `(B, T, V, J)`.

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
        """All in the person's frame: tokens `x` `(B, T, V, dim)`, `origins` `(B, T, V, 3)`, `directions`
        `(B, T, V, J, 3)`, `scores` `(B, T, V, J)` with 0 where nothing is seen, the last `guess` `(B, T, J, 3)`.
        """
        exchanged = self.exchange(x)  # (B, T, V, parts)
        both = (scores > 0) & (scores[..., self.mirror] > 0)  # what is hidden has nothing to be exchanged with
        cross = both * (exchanged.sigmoid() @ self.parts)  # (B, T, V, J)
        directions = directions + cross[..., None] * (directions[..., self.mirror, :] - directions)
        directions = directions / directions.square().sum(-1, keepdim=True).clamp(min=1e-12).sqrt()
        scores = scores + cross * (scores[..., self.mirror] - scores)
        weights = scores * (4.0 * (self.weights(x) / 4.0).tanh()).exp()
        shift = 0.3 * (self.shifts(x).unflatten(-1, (scores.shape[-1], 3)) / 0.3).tanh()
        shift = shift - (shift * directions).sum(-1, keepdim=True) * directions
        local = origins[..., None, :] + shift  # (B, T, V, J, 3)
        joints = _intersect(local, directions, weights, guess)
        offset = joints[:, :, None] - local
        away = (offset - (offset * directions).sum(-1, keepdim=True) * directions).square().sum(-1)
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
        """Tokens `x` `(B, T, V, dim)`, `joints` `(B, T, J, 3)` in the world, `sigma` `(B, T, J)` of the first guess,
        `mask` `(B, T, V)`. Answers joints, what is to be added to them in the person's frame, and sigma.
        """
        pooled = self.pool(x) + torch.where(mask, 0.0, -1e4)[..., None]  # (B, T, V, 1)
        there = mask.any(-1)
        frame = (pooled.softmax(2) * x).sum(2) + self._edges(there)  # (B, T, dim)
        joints = self._smooth(joints, self.kernel(frame), there)
        residual = torch.zeros_like(joints)
        if self.config.residual:
            # in units of sigma: where the rays agree there is little to add
            residual = sigma[..., None] * self.residual(frame).unflatten(-1, (self.config.joints, 3))
        return joints, residual, sigma * (3.0 * (self.sigma(frame) / 3.0).tanh()).exp()

    def _edges(self, there: Tensor) -> Tensor:
        """What tells an instant `(B, T)` how near the ends of its clip it is, `(B, T, dim)`."""
        h, T = self.config.smoothing, there.shape[1]
        valid = functional.pad(there.long(), (h, h))
        before = torch.stack([valid[:, i : i + T] for i in range(h)], -1).sum(-1)
        after = torch.stack([valid[:, i : i + T] for i in range(h + 1, 2 * h + 1)], -1).sum(-1)
        out: Tensor = self.before(before) + self.after(after)
        return out

    def _smooth(self, joints: Tensor, kernel: Tensor, there: Tensor) -> Tensor:
        """Each joint as a weighted mean of itself at the instants around; the weights add up to one."""
        h, T = self.config.smoothing, joints.shape[1]
        parts: Tensor = kernel.unflatten(-1, (2, self.config.joints, 2 * h + 1))  # type: ignore[no-untyped-call]
        soft, signed = parts.unbind(2)  # (B, T, J, 2h+1)
        near = functional.pad(joints, (0, 0, 0, 0, h, h))
        valid = functional.pad(there.to(joints.dtype), (h, h))
        window = torch.stack([near[:, i : i + T] for i in range(2 * h + 1)], -1)  # (B, T, J, 3, 2h+1)
        inside = torch.stack([valid[:, i : i + T] for i in range(2 * h + 1)], -1)[:, :, None]  # (B, T, 1, 2h+1)
        weights = (soft + (inside - 1) * 1e4).softmax(-1)
        signed = 0.5 * signed.tanh() * inside
        signed = signed - inside * signed.sum(-1, keepdim=True) / inside.sum(-1, keepdim=True).clamp(min=1)
        weights = weights + signed
        smooth = (window * weights[..., None, :]).sum(-1)
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
        centre = (trust[..., None] * guess).sum(2) / trust.sum(2)[..., None]  # (B, T, 3)
        sigma = 0.1 * (3.0 * (out[..., 3] / 3.0).tanh()).exp()
        return centre[:, :, None].expand_as(guess), out[..., :3], sigma


def _intersect(origins: Tensor, directions: Tensor, weights: Tensor, guess: Tensor) -> Tensor:
    """Rays and, with hardly any weight, the guess: a joint with one ray is the point of it nearest to the guess.

    `origins`, `directions` `(B, T, V, J, 3)`, `weights` `(B, T, V, J)`, `guess` `(B, T, J, 3)` → `(B, T, J, 3)`.
    """
    share = weights / (weights.sum(2, keepdim=True) + 1e-6)
    offset = origins - guess[:, :, None]  # about the guess: small numbers keep float32 exact
    # what rounding leaves along a single ray, only the guess's small weight holds against: so twice
    for _ in range(2):
        offset = offset - (offset * directions).sum(-1, keepdim=True) * directions
    b = (share[..., None] * offset).sum(2)  # (B, T, J, 3)
    outer = (directions[..., :, None] * directions[..., None, :]).flatten(-2)  # (B, T, V, J, 9)
    eye = torch.eye(3, dtype=b.dtype, device=b.device).flatten()
    A = (share.sum(2)[..., None] + _TIE) * eye - (share[..., None] * outer).sum(2)
    return guess + _solve(A, b)


def _solve(A: Tensor, b: Tensor) -> Tensor:
    """x with A x = b: symmetric `A` `(..., 9)`, row by row, and `b` `(..., 3)`, by cofactors."""
    one, two, other, way = (torch.tensor(places, device=A.device) for places in _MINORS)
    cofactors = (A[..., one] * A[..., two] - A[..., other] * A[..., way]).unflatten(-1, (3, 3))  # type: ignore[no-untyped-call]
    det = (A[..., :3] * cofactors[..., 0, :]).sum(-1, keepdim=True)
    out: Tensor = (cofactors * b[..., None, :]).sum(-1) / det
    return out
