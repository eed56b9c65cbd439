"""AdamW with weight decay on matrices and kernels alone."""

from __future__ import annotations

import torch
from torch import nn

from synpose_model.training.config import Optimizer

__all__ = ["decayed", "make_optimizer"]


def make_optimizer(network: nn.Module, config: Optimizer) -> torch.optim.AdamW:
    """AdamW over all parameters of `network` that want gradients."""
    names = decayed(network)
    trained = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    groups = [
        {"params": [p for name, p in trained.items() if name in names], "weight_decay": config.weight_decay},
        {"params": [p for name, p in trained.items() if name not in names], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas)


def decayed(network: nn.Module) -> set[str]:
    """Names of the parameters that weight decay pulls on.

    Not those of one dimension (biases, norms), not embedding tables, and not those that their module names in its
    attribute `undecayed` (position tables): small values mean nothing simpler there.
    """
    names = set()
    for prefix, module in network.named_modules():
        if not isinstance(module, nn.Embedding):
            own = {name for name, p in module.named_parameters(recurse=False) if p.ndim >= 2}
            names |= {f"{prefix}.{name}".lstrip(".") for name in own - set(getattr(module, "undecayed", ()))}
    return names
