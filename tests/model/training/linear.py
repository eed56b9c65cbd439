"""The smallest real task, linear regression, and the command `synpose` that knows it: `python linear.py train …`."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from synpose.cli import main
from synpose_model.training.task import TaskSpec
from synpose_model.training.tasks import TASKS

TRUTH = torch.tensor([[1.0, -2.0, 0.5]])


@dataclass(frozen=True, kw_only=True)
class LinearNetwork:
    """`[network]`."""

    dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class LinearConfig:
    """`[task]`."""

    network: LinearNetwork
    batch: int = 8
    noise: float = 0.1
    seconds: float = 0.0  # that a batch takes
    breaks_at: int = -1  # the step whose data are not finite


class Linear:
    """y = x · TRUTH + noise."""

    def __init__(self, config: LinearConfig, data: Path | None) -> None:
        self.config = config

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Dropout(self.config.network.dropout), nn.Linear(3, 1))

    def batch(self, step: int, rank: int, generator: np.random.Generator) -> Mapping[str, Tensor]:
        time.sleep(self.config.seconds)
        x = torch.from_numpy(generator.standard_normal((self.config.batch, 3)).astype(np.float32))
        noise = torch.from_numpy(generator.standard_normal((self.config.batch, 1)).astype(np.float32))
        y = x @ TRUTH.T + self.config.noise * noise
        return {"x": x, "y": y * float("nan") if step == self.config.breaks_at else y}

    def loss(self, network: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        error = network(batch["x"]) - batch["y"]
        return error.square().mean(), {"worst": error.abs().max(), "examples": float(len(error))}

    def validate(self, network: nn.Module) -> Mapping[str, float]:
        assert not network.training
        x = torch.eye(3)
        return {"error": float((network(x) - x @ TRUTH.T).abs().mean()), "weight": -1.0}


TASKS["linear"] = TaskSpec(LinearConfig, Linear)

if __name__ == "__main__":
    sys.exit(main())
