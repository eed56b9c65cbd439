"""The relation graph of the learned bundles: rays and tokens of a clip in, joints with sigma out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from synpose.skeleton import get_skeleton
from synpose_model.canonical import body_frame, first_guess
from synpose_model.heads import Aim, RegressionHead, Smoother, mirror
from synpose_model.intersection import across
from synpose_model.relation import RelationConfig, RelationEncoder
from synpose_model.triangulation import RobustTriangulation

__all__ = ["MOST_VIEWS", "LiftingNetwork"]

MOST_VIEWS = 8
"""From here on more views do not change how sigma is scaled."""

_FAR = 0.5  # metres: beyond, how far a ray misses no longer matters
_UNKNOWN = 0.3  # metres: sigma of a joint that only the first guess places
_LOST = 0.6  # metres: where rays that are nearly one line meet says less than a person's size does


class Stage(nn.Module):
    """Looks at the rays from the last guess, relates all images, aims anew."""

    def __init__(self, config: RelationConfig, depth: int) -> None:
        super().__init__()
        self.config = config
        J = config.joints
        self.embed_view = nn.Linear((6 * J if config.rays else 0) + 4 + config.token, config.dim)
        self.embed_pose = nn.Linear(8 * J, config.dim) if config.rays else None
        self.encoder = RelationEncoder(config, depth)
        self.aim = Aim(config) if config.head == "rays" else None
        self.register_buffer("mirror", mirror(get_skeleton(config.skeleton)), persistent=False)
        self.mirror: Tensor

    def forward(
        self,
        x: Tensor | None,
        origins: Tensor,
        directions: Tensor,
        scores: Tensor,
        guess: Tensor,
        motion: Tensor,
        known: Tensor,
        sigma: Tensor,
        mask: Tensor,
        tokens: Tensor | None,
    ) -> Tensor:
        """Tokens `(B, T, V, dim)` of what is seen from `guess` `(B, T, 3, J)`, added to those of the stage before.

        All in the person's frame at each instant; `motion` `(B, T, 3, J)` is how far the first guess moves in one.
        """
        offset, miss = self._misses(origins, directions, guess)
        seen = scores > 0
        short = torch.where(seen[..., None, :], offset * (_FAR / (_FAR + miss))[..., None, :], 0.0)
        eyes = origins.squeeze(-1)  # (B, T, V, 3); the frame is the person's
        distance = eyes.square().sum(-1, keepdim=True).clamp(min=1e-6).sqrt()
        sight = -eyes / distance
        parts = [sight, distance.log() - 1.2]
        if self.config.rays:
            crossed = self._misses(origins, directions, guess[..., self.mirror])[1]
            near, far = (torch.where(seen, 10 * m / (1 + 10 * m), 0.0) for m in (miss, crossed))
            parts += [(10 * short).transpose(-1, -2).flatten(-2), scores, near, far]
        if self.config.token:
            assert tokens is not None, "this network reads tokens"
            parts.append(tokens)
        embedded = self.embed_view(torch.cat(parts, -1))
        if self.embed_pose is not None:
            places, moves = (part.transpose(-1, -2).flatten(-2) for part in (guess, 5 * motion))
            pose = torch.cat((places, known.to(guess.dtype), sigma.log() + 3.5, moves), -1)
            embedded = embedded + self.embed_pose(pose)[:, :, None]
        if x is not None:
            embedded = embedded + x
        missed = (scores * miss).sum(-1, keepdim=True) / scores.sum(-1, keepdim=True).clamp(min=1e-6)
        quality = torch.cat((scores.mean(-1, keepdim=True), missed.clamp(max=2.0)), -1)
        out: Tensor = self.encoder(embedded * mask[..., None], sight, quality, mask)
        return out

    @staticmethod
    def _misses(origins: Tensor, directions: Tensor, guess: Tensor) -> tuple[Tensor, Tensor]:
        """From the guess to each ray `(B, T, V, 3, J)`, and how far that is."""
        offset = across(origins - guess[:, :, None], directions)
        return offset, offset.square().sum(-2).add(1e-12).sqrt()


class LiftingNetwork(nn.Module):
    """First guess by robust intersection; in the person's own frame, stages that relate and aim; smoothing; back."""

    def __init__(self, config: RelationConfig) -> None:
        super().__init__()
        self.config = config
        self.triangulate = RobustTriangulation()
        depths = [config.depth // config.stages + (i < config.depth % config.stages) for i in range(config.stages)]
        self.stages = nn.ModuleList(Stage(config, depth) for depth in depths)
        self.head = Smoother(config) if config.head == "rays" else RegressionHead(config)
        # what makes 68 % of the joints lie within sigma, by the number of views: fitted after training
        self.register_buffer("sigma_scale", torch.ones(MOST_VIEWS + 1))
        self.sigma_scale: Tensor

    def forward(
        self, origins: Tensor, directions: Tensor, scores: Tensor, view_mask: Tensor, tokens: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`origins` `(B, T, V, 3)`, `directions` `(B, T, V, K, 3)`, `scores` `(B, T, V, K)`, `view_mask` `(B, T, V)`,
        `tokens` `(B, T, V, D)` where the config has them → joints `(B, T, J, 3)`, sigma `(B, T, J)` metres, world, and
        view weights `(B, T, V, J)`. NaN where an instant has no view.
        """
        return self.answer(origins, directions, scores, view_mask, tokens)[:3]

    def answer(
        self, origins: Tensor, directions: Tensor, scores: Tensor, view_mask: Tensor, tokens: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
        """As `forward`, and each stage's logits `(B, T, V, parts)` of left and right being exchanged."""
        if (unseen := self.config.joints - self.config.keypoints) > 0:  # joints that no keypoint shows
            scores = functional.pad(scores, (0, unseen))
            directions = functional.pad(directions, (0, 0, 0, unseen))
        # coordinates before joints from here on: the last axis is then long, which is what runtimes are fast over
        origins, directions = origins[..., None], directions.transpose(-1, -2)
        seen = view_mask[..., None] & (scores > 0)  # (B, T, V, J)
        scores = torch.where(seen, scores, 0.0)
        directions = torch.where(seen[..., None, :], directions, 0.0)
        origins = torch.where(view_mask[..., None, None], origins, 0.0)
        if tokens is not None:
            tokens = torch.where(view_mask[..., None], tokens, 0.0)
        found, sigma, _ = self.triangulate.meet(origins, directions, scores, view_mask)
        known = sigma < _LOST  # (B, T, J)
        found = torch.where(known[..., None, :], found, 0.0)
        sigma = torch.where(known, sigma, _UNKNOWN).clamp(0.005, _UNKNOWN)
        guess = first_guess(origins, directions, scores, found, known)
        there = view_mask.any(-1)  # (B, T)
        centre, R = body_frame(
            guess, there * (known.to(guess.dtype).mean(-1) + 1e-3), get_skeleton(self.config.skeleton)
        )

        middle = centre[..., None]  # (B, T, 3, 1)
        turn = R[:, :, None]  # (B, T, 1, 3, 3): world to the person's frame
        motion = _turned(_velocity(guess, there), R)
        guess = torch.where(there[..., None, None], _turned(guess - middle, R), 0.0)
        origins = _turned(origins - middle[:, :, None], turn)
        directions = _turned(directions, turn)
        x: Tensor | None = None
        joints, weights = guess, scores / scores.sum(2, keepdim=True).clamp(min=1e-9)
        exchanged = []
        for stage in self.stages:
            assert isinstance(stage, Stage)
            x = stage(x, origins, directions, scores, joints, motion, known, sigma, view_mask, tokens)
            if stage.aim is not None:
                aimed = stage.aim(x, origins, directions, scores, guess)
                joints, weights = torch.where(there[..., None, None], aimed.joints, 0.0), aimed.weights
                exchanged.append(aimed.exchanged)
        assert x is not None
        back = R.transpose(-1, -2)
        joints, residual, sigma = self.head(x, _turned(joints, back) + middle, sigma, view_mask)
        joints = (joints + _turned(residual, back)).transpose(-1, -2)
        views = view_mask.to(sigma.dtype).sum(-1).clamp(max=float(MOST_VIEWS)).long()  # (B, T)
        sigma = sigma * self.sigma_scale[views][..., None]
        nan = torch.full_like(sigma, float("nan"))
        answered = there[..., None].expand_as(sigma)
        return (
            torch.where(answered[..., None], joints, nan[..., None]),
            torch.where(answered, sigma, nan),
            torch.where(view_mask[..., None], weights, 0.0),
            tuple(exchanged),
        )


def _turned(x: Tensor, R: Tensor) -> Tensor:
    """`R` `(..., 3, 3)` times `x` `(..., 3, J)`; written out, because a GPU may round the factors of a product."""
    out: Tensor = (R[..., None] * x[..., None, :, :]).sum(-2)
    return out


def _velocity(joints: Tensor, there: Tensor) -> Tensor:
    """How far `joints` `(B, T, 3, J)` move from one instant to the next, `(B, T, 3, J)`; 0 where that is not known."""
    T = joints.shape[1]
    near = functional.pad(joints, (0, 0, 0, 0, 1, 1))
    valid = functional.pad(there, (1, 1))
    ahead = (near[:, 2 : T + 2] - joints) * (valid[:, 2 : T + 2] & there)[..., None, None]
    behind = (joints - near[:, :T]) * (valid[:, :T] & there)[..., None, None]
    return ((ahead + behind) / 2).clamp(-0.3, 0.3)
