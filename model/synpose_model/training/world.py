"""The processes of a run and the device of each: one, or as many as torchrun starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from synpose.errors import OptionsError

__all__ = ["World", "join"]

# the others wait for rank 0 while it validates
_PATIENCE = timedelta(hours=2)
# what torchrun tells each process, and what holds without it
_TORCHRUN = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))


@dataclass(frozen=True)
class World:
    """This process is number `rank` of `size` and computes on `device`."""

    rank: int
    size: int
    device: torch.device

    def wrap(self, network: nn.Module) -> nn.Module:
        """`network`, whose gradients are averaged over all processes; all start with the weights of rank 0."""
        if self.size == 1:
            return network
        return DistributedDataParallel(network, device_ids=[self.device] if self.device.type == "cuda" else None)

    def apart(self, network: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Gradients of all but the `last` batch of an update need not be averaged yet."""
        if last or not isinstance(network, DistributedDataParallel):
            return nullcontext()
        return network.no_sync()

    def mean(self, value: Tensor) -> Tensor:
        """The mean of `value` over all processes."""
        if self.size > 1:
            dist.all_reduce(value)
            value = value / self.size
        return value


@contextmanager
def join(device: str) -> Iterator[World]:
    """Meet the other processes of torchrun, if there are any; `device` is cpu, cuda or auto.

    Raises `OptionsError` if there is no such device.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise OptionsError(f"device must be auto, cpu or cuda, not {device!r}", field="device")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    rank, size, local = (int(os.environ.get(name, default)) for name, default in _TORCHRUN)
    if device == "cuda":
        if not torch.cuda.is_available():
            raise OptionsError("there is no CUDA device here, or this torch was built without CUDA", field="device")
        if local >= torch.cuda.device_count():
            raise OptionsError(f"{torch.cuda.device_count()} GPUs for process {local} of this machine", field="device")
        torch.cuda.set_device(local)
        place = torch.device("cuda", local)
    else:
        place = torch.device("cpu")
    if size == 1:
        yield World(0, 1, place)
        return
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_PATIENCE)
    yield World(rank, size, place)
    # not after an error: the others may still wait for this process, and torchrun ends them once it is gone
    dist.barrier()  # nobody leaves while another still talks: that one would be aborted at its end
    dist.destroy_process_group()
