"""The training loop: updates, validation of the averaged weights, checkpoints, and going on where a run was killed.

Nothing random outlives a step: batches and dropout are seeded by (seed, step, part), so a checkpoint needs no state of
a loader or generator, and a resumed run computes what an uninterrupted one would have.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from torch import Tensor, nn

from synpose.errors import InvalidInput, OptionsError
from synpose_model.training.batches import batches_ahead, seed_torch
from synpose_model.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    start_from,
)
from synpose_model.training.config import Config, differences
from synpose_model.training.ema import Ema
from synpose_model.training.log import Log
from synpose_model.training.optimizer import make_optimizer
from synpose_model.training.schedule import share_of_peak
from synpose_model.training.task import Task
from synpose_model.training.tasks import find_task
from synpose_model.training.world import World, join

__all__ = ["Start", "train"]

Start = Literal["auto", "resume", "fresh"]


def train(
    config: Config,
    out: Path,
    *,
    data: Path | None = None,
    device: str = "auto",
    start: Start = "auto",
    init: Path | None = None,
    console: Console | None = None,
) -> Path:
    """Train what `config` says and return `out`/last.pt, the checkpoint after the last update.

    `out` gets last.pt, best.pt, train.csv, validation.csv and tensorboard/. If it has a last.pt, the run goes on from
    there ("auto": provided that it was made with the same config; "resume": it must be there, and what changed in
    `config` holds from now on); "fresh" throws away what is there. A run that begins takes the averaged weights of the
    checkpoint `init`, if given, where they fit. `device` is auto, cpu or cuda. Under torchrun every process calls this.

    Raises `OptionsError` and `InvalidInput` for what cannot be trained so, the latter also for a loss that is not
    finite.
    """
    task = find_task(config.run.task).make(config.task, data)
    with join(device) as world:
        last = out / "last.pt"
        _Training(config, task, world, out, console or Console(stderr=True)).run(_previous(config, last, start), init)
    return last


def _previous(config: Config, last: Path, start: Start) -> Checkpoint | None:
    """The checkpoint to go on from, if any."""
    if start == "fresh":
        return None
    if not last.exists():
        if start == "resume":
            raise OptionsError(f"there is no {last} to resume from", field="resume")
        return None
    checkpoint = load_checkpoint(last)
    changed = differences(Config.from_dict(checkpoint.config), config)
    if changed and start == "auto":
        raise OptionsError(
            f"{last.parent} holds a run of another config ({', '.join(changed)}): --resume goes on with the new one,"
            " --fresh begins anew, --out goes elsewhere",
            field="out",
        )
    return checkpoint


def _clear(out: Path) -> None:
    """Make `out`, without what an earlier run left in it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in ("last.pt", "best.pt", "train.csv", "validation.csv"):
            (out / name).unlink(missing_ok=True)
        if (out / "tensorboard").exists():
            shutil.rmtree(out / "tensorboard")
    except OSError as error:
        raise OptionsError(f"cannot write into {out}: {error.strerror}", field="out") from error


class _Training:
    """One run in one process."""

    def __init__(self, config: Config, task: Task, world: World, out: Path, console: Console) -> None:
        self.config, self.task, self.world, self.out, self.console = config, task, world, out, console
        torch.manual_seed(config.run.seed)
        self.network = task.build().to(world.device)
        self.optimizer = make_optimizer(self.network, config.optimizer)
        self.best: float | None = None

    def run(self, checkpoint: Checkpoint | None, init: Path | None) -> None:
        """All updates after `checkpoint`, or all there are, from the weights of `init` if given."""
        steps = self.config.schedule.steps
        if checkpoint is None:
            first, notes = 0, self._begin(init)
        else:
            first, notes = checkpoint.step, [f"going on after step {checkpoint.step} of {steps}"]
            self._restore(checkpoint)
        if self.world.rank != 0:
            self._updates(first, None)
            return
        with Log(self.out, first, steps, self.console) as log:
            for note in notes:
                log.say(note)
            if checkpoint is None:
                # a validation that fails, or lacks the number of `best`, should fail now and not after an hour
                self._validate(0, log)
            self._updates(first, log)

    def _begin(self, init: Path | None) -> list[str]:
        """Take the weights of `init`, empty the folder; returns what is to be told of it."""
        notes = []
        if init is not None:
            started = start_from(self.network, init)
            notes.append(f"{len(started.loaded)} weights come from {init}")
            notes += [f"not in {init}: {', '.join(started.missing)}"] if started.missing else []
            notes += [f"without a place here: {', '.join(started.unexpected)}"] if started.unexpected else []
        self.ema = Ema(self.network, self.config.loop.ema_decay)
        if self.world.rank == 0:
            _clear(self.out)
        return notes

    def _restore(self, checkpoint: Checkpoint) -> None:
        last = self.out / "last.pt"
        load_weights(self.network, checkpoint.network, last)
        self.ema = Ema(self.network, self.config.loop.ema_decay)
        load_weights(self.ema.network, checkpoint.ema, last)
        # moments are those of the checkpoint, betas and decay those of the config
        told = [{key: value for key, value in group.items() if key != "params"} for group in self._groups]
        self.optimizer.load_state_dict(dict(checkpoint.optimizer))
        for group, new in zip(self._groups, told, strict=True):
            group.update(new)
        if checkpoint.config["loop"]["best"] == self.config.loop.best:
            self.best = checkpoint.best

    @property
    def _groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    def _updates(self, first: int, log: Log | None) -> None:
        """Updates `first`, `first` + 1, …; the only process that logs, validates and saves is the one with a log."""
        config, world = self.config, self.world
        steps = config.schedule.steps
        wrapped = world.wrap(self.network)
        # parts are numbered so that n processes with one batch each compute what one with n batches does
        ranks = [world.rank + world.size * i for i in range(config.loop.accumulate)]
        parts = [(step, rank) for step in range(first, steps) for rank in ranks]
        pin = world.device.type == "cuda"
        with batches_ahead(self.task, config.run.seed, parts, threads=config.loop.threads, pin=pin) as batches:
            for step in range(first, steps):
                lr = config.optimizer.lr * share_of_peak(config.schedule, step)
                loss, norm, numbers = self._gradients(wrapped, step, ranks, batches)
                for group in self._groups:
                    group["lr"] = lr
                self.optimizer.step()
                self.ema.update(self.network, step)
                if log is None:
                    continue
                done = step + 1
                if done % config.loop.log_every == 0 or done == steps:
                    means = {name: float(number) / len(ranks) for name, number in numbers.items()}
                    log.train(done, {"lr": lr, "loss": loss, "gradient_norm": norm, **means})
                if done % config.loop.validate_every == 0 or done == steps:
                    self._validate(done, log)
                if done % config.loop.checkpoint_every == 0 or done == steps:
                    self._save(done, "last.pt")

    def _gradients(
        self, wrapped: nn.Module, step: int, ranks: Sequence[int], batches: Iterator[Mapping[str, Tensor]]
    ) -> tuple[float, float, dict[str, float | Tensor]]:
        """Clipped gradients of update `step`: the mean loss, their norm before, and this process's numbers, summed."""
        config, world = self.config, self.world
        self.network.train()
        self.optimizer.zero_grad()
        total = torch.zeros((), device=world.device)
        numbers: dict[str, float | Tensor] = {}
        for rank in ranks:
            batch = {name: tensor.to(world.device, non_blocking=True) for name, tensor in next(batches).items()}
            seed_torch(config.run.seed, step, rank)
            with world.apart(wrapped, last=rank == ranks[-1]):
                with torch.autocast(world.device.type, torch.bfloat16, config.loop.bf16):
                    loss, named = self.task.loss(wrapped, batch)
                (loss / len(ranks)).backward()  # type: ignore[no-untyped-call]
            total += loss.detach() / len(ranks)
            for name, number in named.items():
                numbers[name] = numbers.get(name, 0.0) + (number.detach() if isinstance(number, Tensor) else number)
        clip = nn.utils.clip_grad_norm_(self.network.parameters(), config.optimizer.clip_norm or math.inf)
        mean, norm = torch.stack([world.mean(total), clip]).tolist()
        if not math.isfinite(mean) or not math.isfinite(norm):
            raise InvalidInput(
                f"step {step + 1}: the loss is {mean} and the norm of its gradients {norm}; nothing of it was saved"
                " (a lower optimizer.lr or a longer schedule.warmup may help)"
            )
        return mean, norm, numbers

    def _validate(self, done: int, log: Log) -> None:
        """Validate the averaged weights after update `done`, and keep them if they are the best."""
        with torch.no_grad():
            numbers = {name: float(number) for name, number in self.task.validate(self.ema.network).items()}
        log.validation(done, numbers)
        if not (best := self.config.loop.best):
            return
        if best not in numbers:
            raise OptionsError(f"loop.best: validation gives {', '.join(numbers)}, no {best!r}", field="loop.best")
        if numbers[best] < (math.inf if self.best is None else self.best):
            self.best = numbers[best]
            self._save(done, "best.pt")

    def _save(self, done: int, name: str) -> None:
        checkpoint = Checkpoint(
            step=done,
            config=self.config.to_dict(),
            network=self.network.state_dict(),
            ema=self.ema.network.state_dict(),
            optimizer=self.optimizer.state_dict(),
            best=self.best,
        )
        save_checkpoint(checkpoint, self.out / name)
