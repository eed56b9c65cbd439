"""Checkpoints: all that a run needs to go on, and all that is needed to serve its network."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from synpose.errors import InvalidInput, ServerError
from synpose_model.training.config import Config
from synpose_model.training.tasks import find_task

__all__ = [
    "VERSION",
    "Checkpoint",
    "Started",
    "load_checkpoint",
    "load_network",
    "load_weights",
    "save_checkpoint",
    "start_from",
]

VERSION = 1  # of the layout of `Checkpoint`


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of a run after `step` updates."""

    step: int
    config: Mapping[str, Any]  # Config.to_dict()
    network: Mapping[str, Tensor]
    ema: Mapping[str, Tensor]  # the averaged weights, which are validated and served
    optimizer: Mapping[str, Any]
    best: float | None  # lowest value of the validation number `loop.best` so far
    version: int = VERSION


class Started(NamedTuple):
    """What `start_from` found: weights taken, weights of the network left as they were, weights without a place."""

    loaded: list[str]
    missing: list[str]
    unexpected: list[str]


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write `path` whole or not at all: whoever is killed here leaves the file that was there before.

    Raises `ServerError` if there is no room or no permission.
    """
    part = path.with_name(f"{path.name}.part")
    whole = io.BytesIO()  # straight into a file, a full disk would come out of torch as a RuntimeError without a reason
    torch.save(dict(vars(checkpoint)), whole)
    try:
        with part.open("wb") as file:
            file.write(whole.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ServerError(f"cannot write {path}: {error.strerror}") from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read `path` onto the CPU, running no code in it; raises `InvalidInput` if it is not a checkpoint."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InvalidInput(f"cannot read the checkpoint {path}: {error.strerror}", field="checkpoint") from error
    except Exception as error:  # of any kind: torch reads files that are not its own to wherever they lead
        raise InvalidInput(f"{path} is broken, or not a checkpoint", field="checkpoint") from error
    names = {field.name for field in fields(Checkpoint)}
    if not isinstance(state, dict) or state.get("version") != VERSION or state.keys() != names:
        raise InvalidInput(f"{path} is not a checkpoint of version {VERSION}", field="checkpoint")
    return Checkpoint(**state)


def load_network(path: Path) -> tuple[nn.Module, Config]:
    """The network of the checkpoint `path` with its averaged weights, on the CPU, for evaluation only, and its config.

    Raises `InvalidInput` for what is not a checkpoint, or not one of this version's networks.
    """
    checkpoint = load_checkpoint(path)
    config = Config.from_dict(checkpoint.config)
    network = find_task(config.run.task).make(config.task, None).build()
    load_weights(network, checkpoint.ema, path)
    return network.eval().requires_grad_(False), config


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Give `network` exactly the `weights` of `path`, which need not hold what is frozen: that is never another.

    Raises `InvalidInput` if they are another network's.
    """
    frozen = {name: value for name, value in network.named_parameters() if not value.requires_grad}
    wanted, offered = network.state_dict(), {**frozen, **weights}
    wrong = [name for name, value in wanted.items() if name not in offered or offered[name].shape != value.shape]
    wrong += [name for name in offered if name not in wanted]
    if wrong:
        raise InvalidInput(
            f"the weights of {path} are another network's: {len(wrong)} are missing, have another shape or no place, "
            f"the first of them {wrong[0]}",
            field="checkpoint",
        )
    network.load_state_dict(offered)


def start_from(network: nn.Module, path: Path) -> Started:
    """Give `network` those averaged weights of `path` whose name and shape it has.

    Raises `InvalidInput` if none fit, or `path` is not a checkpoint.
    """
    offered, wanted = load_checkpoint(path).ema, network.state_dict()
    fitting = {name: value for name, value in offered.items() if name in wanted and value.shape == wanted[name].shape}
    if not fitting:
        raise InvalidInput(f"no weight of {path} has the name and shape of one of this network", field="init")
    network.load_state_dict(fitting, strict=False)
    return Started(
        list(fitting),
        [name for name in wanted if name not in fitting],
        [name for name in offered if name not in fitting],
    )
