"""The learning rate over a run: linear warm-up, then a cosine."""

from __future__ import annotations

import math

from synpose_model.training.config import Schedule

__all__ = ["share_of_peak"]


def share_of_peak(schedule: Schedule, step: int) -> float:
    """The learning rate of update `step` (0, 1, …) as a share of its peak.

    It grows linearly over `warmup` updates, the last of which has the peak, and falls as half a cosine that would reach
    `floor` with update `steps`, one after the last (Loshchilov and Hutter, SGDR, arXiv 1608.03983, section 3).
    """
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    done = (step - schedule.warmup) / max(1, schedule.steps - schedule.warmup)
    return schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
