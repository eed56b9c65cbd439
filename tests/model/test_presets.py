"""Named networks: each can be built and is what its name says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from synpose.skeleton import get_skeleton
from synpose_model.lifting import LiftingNetwork
from synpose_model.presets import ABLATIONS, PRESETS
from synpose_model.relation import RelationConfig
from synpose_model.spatial import SpatialConfig, SpatialNetwork
from synpose_model.training.config import load_config


@pytest.mark.parametrize("name", [*PRESETS, *ABLATIONS])
def test_every_preset_answers_in_shape(name: str) -> None:
    """Spatial and relation network fit each other: keypoints and tokens of the one are what the other reads."""
    preset = PRESETS[name] if name in PRESETS else ABLATIONS[name]
    lead = (1, 2, 3)
    side, J = preset.spatial.side, len(get_skeleton(preset.relation.skeleton))
    images = torch.zeros(6, side, side, 3, dtype=torch.uint8, device="meta")
    keypoints, tokens, _ = SpatialNetwork(preset.spatial).eval().to("meta")(images)
    assert keypoints.shape == (6, J, 3)
    inputs = [
        torch.zeros(*lead, 3, device="meta"),
        torch.zeros(*lead, J, 3, device="meta"),
        torch.zeros(*lead, J, device="meta"),
        torch.ones(lead, dtype=torch.bool, device="meta"),
    ]
    if preset.relation.token:
        inputs.append(tokens.reshape(*lead, -1))
    joints, sigma, weights = LiftingNetwork(preset.relation).eval().to("meta")(*inputs)
    assert joints.shape == (1, 2, J, 3)
    assert sigma.shape == (1, 2, J)
    assert weights.shape == (*lead, J)


def test_ablations_are_the_default_with_something_changed() -> None:
    """Two of them are the default itself, untold, as the row that the others are compared with; the rest differ."""
    default = PRESETS["default"]
    untold = replace(default, spatial=replace(default.spatial, expects=False))
    same = {name for name, preset in ABLATIONS.items() if preset == untold}
    assert same == {"rays", "window-4"}


def test_the_default_is_what_the_configs_default_to() -> None:
    """A config file without a table [network] trains the default's spatial network, though one that is told nothing."""
    assert PRESETS["default"].spatial == SpatialConfig(expects=True)


def test_joints_must_be_the_skeletons() -> None:
    """A relation network for 17 joints says whose they are."""
    with pytest.raises(ValueError, match="body27 has 27 joints, not 17"):
        RelationConfig(joints=17)


CONFIGS = Path(__file__).parents[2] / "examples" / "training"


@pytest.mark.parametrize(
    ("name", "spatial", "relation"),
    [
        ("default", "spatial-thunder", "rays"),
        ("fast", "spatial-lightning", "rays-fast"),
        ("paper", "paper-spatial", "paper-relation"),
        ("paper-small", "paper-small-spatial", "paper-small-relation"),
    ],
)
def test_the_example_configs_train_the_presets(name: str, spatial: str, relation: str) -> None:
    """What is trained by the files in examples/training is what the presets say."""
    preset = PRESETS[name]
    assert load_config(CONFIGS / f"{spatial}.toml").task.network == preset.spatial
    assert load_config(CONFIGS / f"{relation}.toml").task.network == preset.relation
