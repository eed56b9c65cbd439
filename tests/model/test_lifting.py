"""The relation network: what must not matter does not, and untrained it is the robust intersection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from synpose.skeleton import BODY27
from synpose_model.lifting import MOST_VIEWS, LiftingNetwork, Stage
from synpose_model.presets import PRESETS
from synpose_model.relation import RelationConfig

CONFIG = replace(PRESETS["testing"].relation, token=0)
VARIANTS = {
    "rays": CONFIG,
    "tokens": replace(CONFIG, token=16, rays=False),
    "both": replace(CONFIG, token=16),
    "regression": replace(CONFIG, token=16, rays=False, head="regression", stages=1),
    "time": replace(CONFIG, scope="time"),
    "views": replace(CONFIG, scope="views"),
    "none": replace(CONFIG, scope="none", geometry_bias=False, residual=False),
}
Clip = list[Tensor]
BATCH, TIMES = 2, 3

_HEIGHTS = {
    "shoulder": 1.45, "elbow": 1.15, "wrist": 0.9, "hip": 0.95, "knee": 0.5, "ankle": 0.1, "eye": 1.7, "ear": 1.68,
    "big_toe": 0.02, "small_toe": 0.02, "heel": 0.03, "nose": 1.66, "head": 1.8, "neck": 1.5, "pelvis": 0.95,
    "spine": 1.2,
}  # fmt: skip


def person(rng: np.random.Generator) -> Tensor:
    """Joints `(TIMES, 27, 3)` of somebody who stands facing −y, a little out of shape and moving."""
    joints = np.zeros((27, 3))
    for j, name in enumerate(BODY27.joints):
        side, _, part = name.partition("_")
        joints[j, 0] = {"left": 0.18, "right": -0.18}.get(side, 0.0)
        joints[j, 2] = _HEIGHTS[part if side in ("left", "right") else name]
    moving = np.cumsum(rng.normal(0, 0.02, (TIMES, 27, 3)), 0)
    return torch.tensor(joints + rng.normal(0, 0.05, (27, 3)) + moving + rng.normal(0, 0.5, 3))


def clips(seed: int, views: int, config: RelationConfig = CONFIG, noise: float = 0.02) -> Clip:
    """Rays `(BATCH, TIMES, views, …)` of people who pass their rays by `noise` metres; some keypoints are unseen."""
    rng = np.random.default_rng(seed)
    joints = torch.stack([person(rng) for _ in range(BATCH)])  # (B, T, J, 3)
    angle = torch.tensor(rng.uniform(0, 2 * np.pi, (BATCH, 1)) + 2 * np.pi / (views + 1) * np.arange(views))
    eyes = torch.stack((4 * angle.cos(), 4 * angle.sin(), 1.0 + 0.8 * (3 * angle).sin()), -1)
    eyes = (eyes + joints.mean((1, 2))[:, None] * torch.tensor((1.0, 1.0, 0.0)))[:, None].expand(-1, TIMES, -1, -1)
    aim = joints[:, :, None] + noise * torch.tensor(rng.normal(0, 1, (BATCH, TIMES, views, 27, 3)))
    scores = torch.tensor(rng.uniform(0.2, 0.9, (BATCH, TIMES, views, 27)))
    if views > 3:
        scores = scores * torch.tensor(rng.random(scores.shape) > 0.05)
    out = [
        eyes,
        torch.nn.functional.normalize(aim - eyes[..., None, :], dim=-1),
        scores,
        torch.ones(eyes.shape[:-1], dtype=torch.bool),
    ]
    if config.token:
        out.append(torch.tensor(rng.normal(0, 1, (BATCH, TIMES, views, config.token))))
    return [part if part.dtype == torch.bool else part.float() for part in out]


def shaken(config: RelationConfig, seed: int = 0) -> LiftingNetwork:
    """A network as if trained: no weight is zero any more."""
    torch.manual_seed(seed)
    network = LiftingNetwork(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return network


def answer(network: LiftingNetwork, clip: Clip) -> tuple[Tensor, Tensor, Tensor]:
    with torch.inference_mode():
        joints, sigma, weights = network(*clip)
    return joints, sigma, weights


each_variant = pytest.mark.parametrize("variant", VARIANTS)


@each_variant
@settings(max_examples=6, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**16), views=st.integers(1, 6))
def test_the_order_of_views_changes_nothing(variant: str, seed: int, views: int) -> None:
    """Views have no number: exchanged, they give the same joints, and exchanged weights."""
    network, clip = shaken(VARIANTS[variant]), clips(seed, views, VARIANTS[variant])
    order = torch.tensor(np.random.default_rng(seed).permutation(views))
    joints, sigma, weights = answer(network, clip)
    others = answer(network, [part[:, :, order] for part in clip])
    torch.testing.assert_close(others[0], joints, atol=1e-4, rtol=0)
    torch.testing.assert_close(others[1], sigma, atol=1e-4, rtol=0)
    torch.testing.assert_close(others[2], weights[:, :, order], atol=1e-3, rtol=0)


@each_variant
@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -1e30, 7.0])
def test_a_masked_view_changes_nothing_whatever_it_holds(variant: str, garbage: float) -> None:
    """A view that is not there may hold anything, even what is no number."""
    network, clip = shaken(VARIANTS[variant]), clips(1, 3, VARIANTS[variant])
    joints, sigma, weights = answer(network, clip)
    wider = [torch.cat((part, torch.full_like(part[:, :, :1], garbage)), 2) for part in clip]
    wider[3] = torch.cat((clip[3], torch.zeros_like(clip[3][:, :, :1])), 2)
    others = answer(network, wider)
    torch.testing.assert_close(others[0], joints, atol=1e-4, rtol=0)
    torch.testing.assert_close(others[1], sigma, atol=1e-4, rtol=0)
    torch.testing.assert_close(others[2][:, :, :3], weights, atol=1e-3, rtol=0)
    assert (others[2][:, :, 3] == 0).all()


@each_variant
def test_people_who_share_a_batch_never_touch(variant: str) -> None:
    """Alone, beside somebody else, or beside garbage, a clip's answer is the same."""
    network, clip = shaken(VARIANTS[variant]), clips(2, 4, VARIANTS[variant])
    expected = answer(network, [part[:1] for part in clip])
    spoiled = [part.clone() for part in clip]
    for part in spoiled:
        if part.dtype != torch.bool:
            part[1] = float("nan")
    for batch in (clip, spoiled):
        for got, alone in zip(answer(network, batch), expected, strict=True):
            torch.testing.assert_close(got[:1], alone, atol=1e-4, rtol=0)


@each_variant
@settings(max_examples=5, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**16), views=st.integers(1, 5))
def test_a_moved_world_moves_the_answer_with_it(variant: str, seed: int, views: int) -> None:
    """Neither the axes of the world nor its origin matter: turned and shifted rays give turned and shifted joints."""
    network, clip = shaken(VARIANTS[variant]), clips(seed, views, VARIANTS[variant])
    rng = np.random.default_rng(seed)
    R = torch.tensor(np.linalg.qr(rng.normal(size=(3, 3)))[0]).float()
    R = R * torch.linalg.det(R)  # no mirror
    shift = torch.tensor(rng.uniform(-3, 3, 3)).float()
    joints, sigma, weights = answer(network, clip)
    moved = answer(network, [clip[0] @ R.T + shift, clip[1] @ R.T, *clip[2:]])
    torch.testing.assert_close(moved[0], joints @ R.T + shift, atol=1e-3, rtol=0)
    torch.testing.assert_close(moved[1], sigma, atol=1e-3, rtol=0)
    torch.testing.assert_close(moved[2], weights, atol=1e-2, rtol=0)


def unexchanged(config: RelationConfig) -> LiftingNetwork:
    """Fresh weights, sure that nothing is exchanged between left and right."""
    torch.manual_seed(0)
    network = LiftingNetwork(config).eval()
    for name, parameter in network.named_parameters():
        if name.endswith("exchange.bias"):
            torch.nn.init.constant_(parameter, -30.0)
    return network


@pytest.mark.parametrize("views", [2, 3, 4, 6])
@pytest.mark.parametrize(("make", "most"), [(unexchanged, 1e-3), (lambda c: LiftingNetwork(c).eval(), 5e-3)])
def test_untrained_it_is_the_robust_intersection(
    make: Callable[[RelationConfig], LiftingNetwork], most: float, views: int
) -> None:
    """Fresh weights answer what `RobustTriangulation` does where that knows a joint, to a millimetre.

    But for what the small chance that sides are exchanged, with which they start, draws each joint to its mirror.
    """
    network, clip = make(CONFIG), clips(3, views, noise=0.01)
    joints, sigma, _ = answer(network, clip)
    robust, spread, _ = network.triangulate(*clip)
    known = robust.isfinite().all(-1)
    assert known.float().mean() > 0.9
    off = (joints - robust).norm(dim=-1)[known]
    assert off.max() < most, float(off.max())
    torch.testing.assert_close(sigma[known], spread[known].clamp(0.005, 0.3))


@each_variant
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (4, 2)])
def test_one_view_and_one_instant_are_enough(variant: str, shape: tuple[int, int]) -> None:
    """With a single camera, and at a single instant, every joint has a place and a positive sigma."""
    views, times = shape[1], min(shape[0], TIMES)
    clip = [part[:, :times] for part in clips(5, views, VARIANTS[variant])]
    joints, sigma, weights = answer(shaken(VARIANTS[variant]), clip)
    assert joints.shape == (BATCH, times, 27, 3)
    assert joints.isfinite().all()
    assert (sigma > 0).all()
    assert weights.shape == (BATCH, times, views, 27)


@each_variant
def test_an_instant_without_a_view_is_nan_and_its_neighbours_are_not(variant: str) -> None:
    """Nothing is answered from nothing: neither an old value nor zero."""
    clip = clips(6, 3, VARIANTS[variant])
    clip[3][0, 1] = False
    joints, sigma, weights = answer(shaken(VARIANTS[variant]), clip)
    assert joints[0, 1].isnan().all()
    assert sigma[0, 1].isnan().all()
    assert (weights[0, 1] == 0).all()
    there = torch.ones(BATCH, TIMES, dtype=torch.bool)
    there[0, 1] = False
    assert joints[there].isfinite().all()


def test_view_weights_add_up_to_one() -> None:
    """Each joint that was seen is shared out over its views; a view that did not see it hardly counts."""
    clip = clips(7, 4)
    clip[2][..., 5] = torch.tensor((0.0, 0.5, 0.5, 0.5))
    clip[2][..., 6] = torch.tensor((0.0, 0.5, 0.5, 0.5))  # its mirror joint: exchanged, it is as unseen
    weights = answer(LiftingNetwork(CONFIG).eval(), clip)[2]
    torch.testing.assert_close(weights.sum(2), torch.ones(BATCH, TIMES, 27))
    assert (weights >= 0).all()
    assert (weights[:, :, 0, 5] == 0).all()


def test_sigma_is_scaled_by_the_number_of_views() -> None:
    """What was fitted after training for three views does not change the sigma of two."""
    network, clip = shaken(CONFIG), clips(8, 3)
    clip[3][1, :, 2] = False
    before = answer(network, clip)[1]
    network.sigma_scale[3] = 2.0
    after = answer(network, clip)[1]
    torch.testing.assert_close(after[0], 2 * before[0])
    torch.testing.assert_close(after[1], before[1])
    assert len(network.sigma_scale) == MOST_VIEWS + 1


def test_keypoints_of_coco_alone_still_answer_the_whole_body() -> None:
    """Joints that no keypoint shows come from the first guess and what was learned."""
    clip = clips(9, 4)
    clip[1], clip[2] = clip[1][..., :17, :], clip[2][..., :17]
    joints, _, weights = answer(shaken(replace(CONFIG, keypoints=17)), clip)
    assert joints.shape == (BATCH, TIMES, 27, 3)
    assert joints.isfinite().all()
    assert weights.shape[-1] == 27


@pytest.mark.parametrize(
    ("scope", "reaches"),
    [
        ("all", (True, True, True)),
        ("time", (True, False, False)),
        ("views", (False, True, False)),
        ("none", (False,) * 3),
    ],
)
def test_scope_is_who_sees_whom(scope: str, reaches: tuple[bool, bool, bool]) -> None:
    """A token reaches its own camera's instants, its own instant's cameras, both, or nobody."""
    torch.manual_seed(0)
    stage = shaken(replace(CONFIG, scope=scope)).stages[0]
    assert isinstance(stage, Stage)
    encoder = stage.encoder
    x, mask = torch.randn(1, 2, 2, CONFIG.dim), torch.ones(1, 2, 2, dtype=torch.bool)
    sight, quality = torch.nn.functional.normalize(torch.randn(1, 2, 2, 3), dim=-1), torch.rand(1, 2, 2, 2)
    other = x.clone()
    other[0, 0, 0] += torch.randn(CONFIG.dim)
    with torch.inference_mode():
        moved = (encoder(x, sight, quality, mask) - encoder(other, sight, quality, mask)).abs().amax(-1)[0] > 1e-6
    assert bool(moved[0, 0])
    assert (bool(moved[1, 0]), bool(moved[0, 1]), bool(moved[1, 1])) == reaches
