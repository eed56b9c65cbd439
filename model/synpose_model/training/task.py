"""What the training loop trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor, nn

__all__ = ["Task", "TaskFactory", "TaskSpec"]


class Task(Protocol):
    """A network, its data and its loss; the loop knows nothing else of them."""

    def build(self) -> nn.Module:
        """The network with fresh weights, drawn from torch's global generator, which the loop has seeded.

        Needs no data. A module may name parameters of its own that weight decay must leave alone, such as position
        tables, in an attribute `undecayed`, a collection of names.
        """
        ...

    def batch(self, step: int, rank: int, generator: np.random.Generator) -> Mapping[str, Tensor]:
        """The CPU tensors of part `rank` of update `step` (0, 1, …), a function of these numbers and `generator` alone.

        Parts are counted over processes and accumulated batches alike, so `rank` may exceed the number of processes.
        Called from several threads at once, so torch's global generator must not be drawn from here.
        """
        ...

    def loss(self, network: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        """The loss, a scalar to go down from, and named numbers for the log; `batch` is on the network's device.

        With several processes `network` is wrapped: call it once, with all that needs gradients going through that
        call. Numbers that stay tensors are read only when they are logged, which spares a GPU the wait.
        """
        ...

    def validate(self, network: nn.Module) -> Mapping[str, float]:
        """Named numbers of `network` (in evaluation mode, gradients off) on fixed held-out data; lower is better."""
        ...


class TaskFactory(Protocol):
    """Makes a task of its config and the folder of `--data`, which it need not have before the first batch."""

    def __call__(self, config: Any, data: Path | None, /) -> Task: ...


class TaskSpec(NamedTuple):
    """How a config names a task.

    `config` is the frozen dataclass of the table `[task]`; where it has a field `network`, itself a dataclass, that is
    the table `[network]`. Field types are those of `config.parse`.
    """

    config: type
    make: TaskFactory
