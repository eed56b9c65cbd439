"""What a checkpoint's task says of its network, outside a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from synpose.errors import InvalidInput
from synpose_model.training.checkpoint import load_network
from synpose_model.training.rays import RaysTask
from synpose_model.training.tasks import find_task

__all__ = ["evaluate_rays"]


def evaluate_rays(checkpoint: Path, data: Path) -> Mapping[str, float]:
    """The numbers of `RaysTask.validate` for the network of `checkpoint` on the validation part of `data`.

    Raises `InvalidInput` for a checkpoint of another kind of network and for a folder that lacks the task's files.
    """
    network, config = load_network(checkpoint)
    task = find_task(config.run.task).make(config.task, data)
    if not isinstance(task, RaysTask):
        raise InvalidInput(f"{checkpoint} holds no relation network but that of {config.run.task}", field="checkpoint")
    with torch.inference_mode():
        return task.validate(network)
