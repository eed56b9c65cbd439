"""The learning-free relation graph: exact on exact rays, robust to wrong ones, blind to what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from synpose_model.bundle import Repository
from synpose_model.intersection import intersect
from synpose_model.rays import intersect_rays, ray_distances
from synpose_model.triangulation import RobustTriangulation
from synpose_server.runtime import Model

Rays = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def rays_to(
    points: NDArray[np.float64], views: int, noise: float = 0.0, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Camera centres `(V, 3)` on a circle of 4 m and unit rays `(V, K, 3)` that pass `points` `(K, 3)` by `noise` m."""
    rng = np.random.default_rng(seed)
    angles = np.arange(views) * 2 * np.pi / (views + 1) + 0.3
    origins = np.stack((4 * np.cos(angles), 4 * np.sin(angles), 1.5 + 0.5 * np.sin(3 * angles)), -1)
    aim = points + rng.normal(0, 1, (views, *points.shape)) * noise
    directions = aim - origins[:, None]
    return origins, directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def batch(points: NDArray[np.float64], views: int, noise: float = 0.0, seed: int = 0) -> Rays:
    """The same as graph inputs with B = T = 1, all scores 0.8, all views there."""
    origins, directions = rays_to(points, views, noise, seed)
    o, d = torch.tensor(origins)[None, None].float(), torch.tensor(directions)[None, None].float()
    return o, d, torch.full(d.shape[:-1], 0.8), torch.ones(o.shape[:-1], dtype=torch.bool)


POINTS = np.random.default_rng(1).uniform(-0.8, 0.8, (17, 3)) + (0, 0, 1)


@pytest.mark.parametrize("views", [2, 3, 4, 8, 16])
def test_exact_rays_give_the_exact_point(views: int) -> None:
    """Rays that meet are intersected to a tenth of a millimetre, in float32."""
    joints, sigma, weights = RobustTriangulation()(*batch(POINTS, views))
    assert np.abs(joints[0, 0].numpy() - POINTS).max() < 1e-4
    assert torch.allclose(weights.sum(-2), torch.ones(1, 1, 17))
    assert (sigma > 0).all()
    assert (sigma < 0.1).all()


def test_one_wrong_view_is_outvoted() -> None:
    """A view whose keypoints are half a metre off is given next to no weight and moves no joint by a centimetre."""
    origins, directions, scores, mask = batch(POINTS, 5)
    _, wrong, _, _ = batch(POINTS + (0.35, 0.35, 0.2), 5)
    directions[0, 0, 2] = wrong[0, 0, 2]
    joints, _, weights = RobustTriangulation()(origins, directions, scores, mask)
    assert np.abs(joints[0, 0].numpy() - POINTS).max() < 0.01
    assert weights[0, 0, 2].max() < 0.02


def test_sigma_holds_the_share_it_promises() -> None:
    """With the noise that it expects and no shared error, about 68 % of the joints lie within one sigma."""
    points = np.random.default_rng(5).uniform(-0.8, 0.8, (4000, 3)) + (0, 0, 1)
    for views in (3, 4, 6):
        joints, sigma, _ = RobustTriangulation(floor=0.0)(*batch(points, views, noise=0.015))
        error = np.linalg.norm(joints[0, 0].numpy() - points, axis=-1)
        assert 0.6 < (error < sigma[0, 0].numpy()).mean() < 0.8, views


@pytest.mark.parametrize("views", [0, 1])
def test_too_few_views_give_nothing(views: int) -> None:
    """A joint that fewer than two views see is NaN with its sigma, never a guess."""
    origins, directions, scores, mask = batch(POINTS, 4)
    mask[..., views:] = False
    joints, sigma, weights = RobustTriangulation()(origins, directions, scores, mask)
    assert torch.isnan(joints).all()
    assert torch.isnan(sigma).all()
    assert (weights == 0).all()


def test_parallel_rays_give_nothing() -> None:
    """Two cameras in one place cannot tell depth."""
    origins, directions, scores, mask = batch(POINTS, 2)
    origins[:], directions[0, 0, 1] = origins[0, 0, 0], directions[0, 0, 0].clone()
    assert torch.isnan(RobustTriangulation()(origins, directions, scores, mask)[0]).all()


def test_numpy_and_torch_agree() -> None:
    """The two implementations of the closed form are one algorithm."""
    origins, directions = rays_to(POINTS, 4, noise=0.03)
    weights = np.random.default_rng(2).uniform(0.1, 1, (4, 17))
    weights[2, 3] = 0
    ours = intersect_rays(origins, np.moveaxis(directions, 0, -2), np.moveaxis(weights, 0, -1))
    rays = torch.tensor(directions).transpose(-1, -2)
    theirs, _, known = intersect(torch.tensor(origins)[..., None], rays, torch.tensor(weights))
    assert known.all()
    assert np.abs(ours - theirs.numpy().T).max() < 1e-9
    assert ray_distances(origins, np.moveaxis(directions, 0, -2), ours).max() < 0.2


def test_gradients_of_the_closed_form() -> None:
    """Training through the intersection has the right gradients (float64 gradcheck)."""
    origins, directions = rays_to(POINTS[:3], 3, noise=0.02)
    eyes = torch.tensor(origins)[..., None]
    rays = torch.tensor(directions).transpose(-1, -2).requires_grad_()
    weights = torch.rand(3, 3, dtype=torch.float64, requires_grad=True, generator=torch.manual_seed(0))
    assert torch.autograd.gradcheck(lambda d, w: intersect(eyes, d, w)[0], (rays, weights))


@pytest.fixture(scope="module")
def served() -> Model:
    """The bundle `accurate` as the server runs it."""
    return Model(Repository()["accurate"])


def furthest(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The largest difference; joints that are unknown in one must be unknown in both."""
    assert np.array_equal(np.isnan(a), np.isnan(b))
    return float(np.nan_to_num(np.abs(a - b)).max())


def relate(model: Model, rays: Rays) -> tuple[NDArray[np.float64], ...]:
    origins, directions, scores, mask = (part.numpy() for part in rays)
    return model.relate(origins.astype(float), directions.astype(float), scores.astype(float), mask)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), views=st.integers(2, 8), frames=st.integers(1, 5), people=st.integers(1, 3))
def test_view_order_masks_and_batch_mates_change_nothing(
    served: Model, seed: int, views: int, frames: int, people: int
) -> None:
    """Properties of every relation graph, here of the one without learning; `test_lifting` has the others."""
    rng = np.random.default_rng(seed)
    parts = [
        [batch(rng.uniform(-1, 1, (17, 3)) + (0, 0, 1), views, 0.05, int(rng.integers(2**31))) for _ in range(frames)]
        for _ in range(people)
    ]
    stacked = [torch.cat([torch.cat([t[i] for t in person], 1) for person in parts]) for i in range(4)]
    origins, directions, scores, mask = stacked
    scores = torch.tensor(rng.uniform(0.05, 1, scores.shape)).float()
    rays: Rays = (origins, directions, scores, mask)
    joints, sigma, weights = relate(served, rays)

    order = torch.tensor(rng.permutation(views))
    shuffled = relate(served, (origins[:, :, order], directions[:, :, order], scores[:, :, order], mask[:, :, order]))
    assert furthest(shuffled[0], joints) < 1e-4
    assert np.abs(shuffled[2] - weights[:, :, order]).max() < 1e-3

    junk = torch.tensor(rng.normal(size=(people, frames, 1, 17, 3))).float()
    widened = relate(
        served,
        (
            torch.cat((origins, junk[:, :, :, 0] * 5), 2),
            torch.cat((directions, junk / junk.norm(dim=-1, keepdim=True)), 2),
            torch.cat((scores, torch.ones(people, frames, 1, 17)), 2),
            torch.cat((mask, torch.zeros(people, frames, 1, dtype=torch.bool)), 2),
        ),
    )
    assert furthest(widened[0], joints) < 1e-4
    assert furthest(widened[1], sigma) < 1e-4
    assert (widened[2][:, :, -1] == 0).all()

    alone: Rays = (origins[:1], directions[:1], scores[:1], mask[:1])
    assert furthest(relate(served, alone)[0], joints[:1]) < 1e-4


def test_onnx_and_torch_agree(served: Model) -> None:
    """The exported graph gives what the module gives, to a tenth of a millimetre."""
    for views in (2, 4, 7):
        rays = batch(POINTS, views, noise=0.05, seed=views)
        joints, sigma, weights = relate(served, rays)
        expected = RobustTriangulation()(*rays)
        assert np.abs(joints - expected[0].numpy()).max() < 1e-4
        assert np.abs(sigma - expected[1].numpy()).max() < 1e-4
        assert np.abs(weights - expected[2].numpy()).max() < 1e-3
