"""Batches, prepared ahead of the loop in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from synpose_model.training.task import Task

__all__ = ["batches_ahead", "seed_torch"]

_AHEAD = 2  # batches that wait, besides those in the making


@contextmanager
def batches_ahead(
    task: Task, seed: int, parts: Sequence[tuple[int, int]], *, threads: int, pin: bool
) -> Iterator[Iterator[Mapping[str, Tensor]]]:
    """Gives the batches of `parts`, pairs of step and rank, in order; errors of a batch come out where it would.

    Each is drawn from a generator seeded by `seed`, step and rank, so nothing depends on the threads or on what was
    drawn before. `pin` puts them into page-locked memory, from which a GPU copies without waiting.
    """

    def make(part: tuple[int, int]) -> Mapping[str, Tensor]:
        batch = task.batch(*part, np.random.default_rng((seed, *part)))
        return {name: tensor.pin_memory() for name, tensor in batch.items()} if pin else batch

    pool = ThreadPoolExecutor(threads, thread_name_prefix="batch")

    def batches() -> Iterator[Mapping[str, Tensor]]:
        left = iter(parts)
        made: deque[Future[Mapping[str, Tensor]]] = deque(
            pool.submit(make, part) for part in islice(left, threads + _AHEAD)
        )
        while made:
            batch = made.popleft().result()
            made.extend(pool.submit(make, part) for part in islice(left, 1))
            yield batch

    try:
        yield batches()
    finally:
        pool.shutdown(cancel_futures=True)


def seed_torch(seed: int, step: int, rank: int) -> None:
    """Seed torch's global generators for one part of a step: dropout then has no state that a checkpoint must keep."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0]))
