"""The spatial module: shapes, how a keypoint is read off a mixture of places, and the loss of one."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from synpose_model.presets import PRESETS
from synpose_model.spatial import Heatmaps, SpatialConfig, SpatialNetwork, alternatives_of, keypoints_of, mixture_loss

TESTING = PRESETS["testing"].spatial


def network(config: SpatialConfig) -> SpatialNetwork:
    torch.manual_seed(0)
    return SpatialNetwork(config).eval()


@pytest.mark.parametrize("keypoints", ["heatmaps", "regression"])
@pytest.mark.parametrize("preset", ["testing", "testing-trunk"])
def test_images_become_keypoints_and_tokens(preset: str, keypoints: str) -> None:
    """Whatever the patches are and wherever keypoints come from, an image gives J keypoints, scored, and one token."""
    config = replace(PRESETS[preset].spatial, keypoints=keypoints)
    images = torch.randint(0, 256, (2, config.side, config.side, 3), dtype=torch.uint8)
    with torch.inference_mode():
        found, tokens, alternatives = network(config)(images)
    assert found.shape == alternatives.shape == (2, 27, 3)
    assert alternatives.isfinite().all()
    assert alternatives[..., 2].any() if keypoints == "heatmaps" else not alternatives[..., 2].any()
    assert tokens.shape == (2, config.token)
    assert found.isfinite().all()
    assert ((found[..., 2] >= 0) & (found[..., 2] <= 1)).all()


def test_images_of_a_batch_do_not_touch_each_other() -> None:
    """An image's answer is the same alone and in company."""
    spatial = network(TESTING)
    images = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        for together, alone in zip(spatial(images), spatial(images[1:2]), strict=True):
            torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=1e-4)


def test_only_the_module_is_trained_on_a_trunk() -> None:
    """MoveNet's trunk and heatmaps stay as they are."""
    spatial = network(PRESETS["testing-trunk"].spatial)
    trained = {name.partition(".")[0] for name, value in spatial.named_parameters() if value.requires_grad}
    assert trained == {"module"}


def test_a_config_without_a_token_still_has_the_last_stages_width() -> None:
    """`token` 0 leaves the pooled map as it is."""
    assert network(replace(TESTING, token=0)).module(torch.zeros(1, 3, 32, 32))[1].shape == (1, 32)


def test_what_is_expected_leads_the_network_and_nothing_else_does() -> None:
    """A new network does not listen yet; one that does, to what is expected within the crop alone."""
    config = replace(PRESETS["testing-trunk"].spatial, expects=True)
    spatial = network(config)
    images = torch.randint(0, 256, (2, config.side, config.side, 3), dtype=torch.uint8)
    nowhere = torch.full((2, 27, 2), -9.0 * config.side)
    here = torch.full((2, 27, 2), 0.5 * config.side)
    with torch.inference_mode():
        untold = spatial(images)[0]
        assert torch.equal(spatial(images, here)[0], untold)
        spatial.module.expect.weight.normal_()
        assert torch.equal(spatial(images, nowhere)[0], untold)
        one = nowhere.clone()
        one[1, 4] = here[1, 4]
        led = spatial(images, one)[0]
    assert torch.equal(led[0], untold[0])
    assert not torch.allclose(led[1], untold[1], atol=1e-2)


def peaks(places: list[tuple[float, float]], logits: list[float], spread: float = 0.01) -> Heatmaps:
    """One joint whose cells say `places`."""
    return Heatmaps(
        torch.tensor(logits)[None, None],
        torch.tensor(places).T[None, :, None],  # (1, 2, 1, cells)
        torch.full((1, 1, len(logits)), spread),
    )


def test_of_two_peaks_one_is_chosen_and_not_the_middle() -> None:
    """An arm here and an arm there make no arm between them; the stronger wins, its own cells are averaged."""
    maps = peaks([(0.2, 0.5), (0.22, 0.5), (0.8, 0.5)], [1.0, 1.0, 1.2])
    x, y, score = keypoints_of(maps)[0, 0].tolist()
    assert x == pytest.approx(0.8, abs=1e-3)
    assert y == pytest.approx(0.5)
    stronger = keypoints_of(peaks([(0.2, 0.5), (0.22, 0.5), (0.8, 0.5)], [2.0, 2.0, 1.2]))[0, 0]
    assert stronger[0] == pytest.approx(0.21, abs=2e-3)
    assert stronger[2] > score  # most of the mass is there


def test_the_next_peak_is_told() -> None:
    """Where else a joint may be, and how likely: nothing where all cells agree."""
    divided = peaks([(0.2, 0.5), (0.22, 0.5), (0.8, 0.5)], [1.0, 1.0, 1.2])
    x, y, score = alternatives_of(divided, keypoints_of(divided))[0, 0].tolist()
    assert (x, y) == (pytest.approx(0.21, abs=1e-3), pytest.approx(0.5))
    shares = torch.tensor([1.0, 1.0, 1.2]).softmax(-1)
    near = math.exp(-(0.02**2) / (2 * 0.06**2))  # how much the second cell of the peak counts
    assert score == pytest.approx(float(shares[:2].sum()) * (1 + near) / 2 * 0.75, abs=1e-4)
    at_one = peaks([(0.2, 0.5), (0.22, 0.5), (0.24, 0.5)], [1.0, 1.0, 1.2])
    assert alternatives_of(at_one, keypoints_of(at_one))[0, 0, 2] == 0


def test_a_wide_or_divided_answer_scores_less() -> None:
    """A score falls with the expected error and with mass elsewhere."""
    sure = float(keypoints_of(peaks([(0.3, 0.3)], [0.0]))[0, 0, 2])
    assert sure == pytest.approx(0.75, abs=1e-4)  # 0.03 / (0.03 + 0.01)
    assert keypoints_of(peaks([(0.3, 0.3)], [0.0], spread=0.03))[0, 0, 2] == pytest.approx(0.5, abs=1e-4)
    assert keypoints_of(peaks([(0.3, 0.3), (0.9, 0.9)], [0.0, 0.0]))[0, 0, 2] == pytest.approx(sure / 2, abs=1e-4)


def test_the_loss_is_least_where_the_truth_is_at_the_peak() -> None:
    """The nearer the truth to the places, the likelier; joints without weight cost nothing."""
    maps = peaks([(0.2, 0.5), (0.8, 0.5)], [3.0, 0.0], spread=0.02)
    losses = [float(mixture_loss(maps, torch.tensor([[[x, 0.5]]]), torch.ones(1, 1))) for x in (0.2, 0.25, 0.35, 0.5)]
    assert losses == sorted(losses)
    assert losses[0] < float(mixture_loss(maps, torch.tensor([[[0.8, 0.5]]]), torch.ones(1, 1)))
    assert mixture_loss(maps, torch.tensor([[[0.5, 0.5]]]), torch.zeros(1, 1)) == 0


def test_the_loss_is_a_density() -> None:
    """The likelihood of everywhere adds up to one."""
    at = torch.cartesian_prod(*(torch.arange(-1.5, 2.5, 0.1),) * 2)
    maps = peaks([(0.2, 0.5), (0.8, 0.5)], [1.0, 0.0], spread=0.15)
    likelihood = sum(float((-mixture_loss(maps, point[None, None], torch.ones(1, 1))).exp()) for point in at)
    assert likelihood * 0.1**2 == pytest.approx(1.0, abs=0.05)


def test_gradients_of_the_loss() -> None:
    """The loss has the right gradients in float64."""
    generator = torch.manual_seed(0)
    logits, spreads = (torch.rand(2, 2, 3, dtype=torch.float64, generator=generator) for _ in range(2))
    places = torch.rand(2, 2, 2, 3, dtype=torch.float64, generator=generator)
    truth, weights = torch.rand(2, 2, 2, dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64)
    parts = tuple(part.requires_grad_() for part in (logits, places, spreads + 0.1))
    assert torch.autograd.gradcheck(lambda *maps: mixture_loss(Heatmaps(*maps), truth, weights), parts)
