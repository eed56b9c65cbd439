"""Which weights decay."""

from __future__ import annotations

import torch
from torch import nn

from synpose_model.training.config import Optimizer
from synpose_model.training.optimizer import decayed, make_optimizer


class Net(nn.Module):
    undecayed = ("position",)

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.ones(4, 2))
        self.mixed = nn.Parameter(torch.ones(2, 2))
        self.table = nn.Embedding(3, 2)
        self.norm = nn.LayerNorm(2)
        self.inner = nn.Sequential(nn.Conv1d(2, 2, 1))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def test_only_matrices_and_kernels_decay() -> None:
    """Biases, norms, embeddings and what a module names are spared; frozen weights are not in the optimizer at all."""
    network = Net()
    assert decayed(network) == {"mixed", "inner.0.weight", "frozen.weight"}
    groups = make_optimizer(network, Optimizer(weight_decay=0.1)).param_groups
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    assert {(names[id(p)], group["weight_decay"]) for group in groups for p in group["params"]} == {
        ("mixed", 0.1),
        ("inner.0.weight", 0.1),
        ("inner.0.bias", 0.0),
        ("position", 0.0),
        ("table.weight", 0.0),
        ("norm.weight", 0.0),
        ("norm.bias", 0.0),
    }
