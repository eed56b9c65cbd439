"""What networks cost, against counts by hand and published numbers."""

from __future__ import annotations

import torch

from synpose_model.cost import cost_of, relation_cost, spatial_cost
from synpose_model.presets import PRESETS
from synpose_model.windows import WindowBlock

SWIN_T = 28_288_354  # parameters of the published Swin-T
ITS_CLASSES = 768 * 1000 + 1000


def test_a_block_costs_what_a_hand_counts() -> None:
    """S² cells of width C: 4C² for the projections, 2rC² for the MLP, and 2w²C for attention within windows."""
    S, C, w, r, heads = 8, 32, 4, 2, 2
    cost = cost_of(WindowBlock(S, C, heads, w, shift=True, mlp_ratio=r), torch.zeros(1, S, S, C, device="meta"))
    assert cost.multiply_adds == S * S * (4 * C**2 + 2 * r * C**2 + 2 * w**2 * C)
    linear = (4 * C**2 + 4 * C) + (2 * r * C**2 + r * C + C)
    assert cost.parameters == cost.trained == linear + 4 * C + heads * (2 * w - 1) ** 2


def test_the_papers_spatial_module_is_swin_t() -> None:
    """Exactly Swin-T's parameters, with 27 keypoints in the place of its 1000 classes, and its 4.5 G multiply-adds."""
    config = PRESETS["paper"].spatial
    cost = spatial_cost(config)
    assert cost.parameters == cost.trained == SWIN_T - ITS_CLASSES + (768 + 1) * 4 * config.joints == 27_602_406
    assert 4.45e9 < cost.multiply_adds < 4.55e9


def test_the_papers_relation_module() -> None:
    """Golden: four blocks of width 768 with an MLP twice as wide, embedding, time bias and regression."""
    C, heads, window = 768, 8, 16
    block = (4 * C**2 + 4 * C) + (4 * C**2 + 3 * C) + 4 * C
    biases = (2 * window - 1) * heads + heads + heads + 2 * heads  # time, same view, angle, quality
    embedding, regression = (C + 4 + 1) * C, (C + 1) * 4 * 27
    cost = relation_cost(PRESETS["paper"].relation, 16, 4)
    assert cost.parameters == 4 * block + 2 * C + biases + embedding + regression == 19_586_692
    tokens = 16 * 4
    attention = 4 * tokens * (8 * C**2 + 2 * tokens * C)
    assert 1.0 < cost.multiply_adds / (attention + tokens * (C + 4) * C) < 1.002  # and 16 regressions, and biases


def test_a_frozen_trunk_is_counted_but_not_as_trained() -> None:
    """The trunk is paid for in every image, though nobody trains it."""
    cost = spatial_cost(PRESETS["fast"].spatial)
    assert cost.trained < 0.25 * cost.parameters


def test_more_images_cost_more() -> None:
    """Attention over all images of a window grows faster than their number."""
    config = PRESETS["testing"].relation
    assert relation_cost(config, 8, 4).multiply_adds > 2 * relation_cost(config, 4, 4).multiply_adds
