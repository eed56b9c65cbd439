"""Runs of the training loop, as a user makes them: learning, being killed, going on, several processes."""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.model.training import linear
from torch import nn

from synpose.cli import main
from synpose_model.training.batches import batches_ahead
from synpose_model.training.checkpoint import load_checkpoint, load_network
from synpose_model.training.config import Config
from synpose_model.training.loop import train
from synpose_model.training.tasks import TASKS

CONFIG = """
[run]
task = "linear"
seed = 3
[optimizer]
lr = 0.05
[schedule]
steps = {steps}
warmup = 5
[loop]
validate_every = 10
checkpoint_every = {checkpoint_every}
ema_decay = 0.9
accumulate = {accumulate}
best = "error"
[task]
seconds = {seconds}
breaks_at = {breaks_at}
[network]
dropout = 0.25
"""
DEFAULTS = {"steps": 40, "checkpoint_every": 10, "accumulate": 1, "seconds": 0.0, "breaks_at": -1}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard's import warns on some machines, and is of no interest here."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def write(folder: Path, **changes: Any) -> str:
    """A config file in `folder`."""
    path = folder / "config.toml"
    path.write_text(CONFIG.format(**DEFAULTS | changes))
    return str(path)


def column(path: Path, name: str) -> list[str]:
    """One column of a CSV file, as written."""
    with path.open(newline="") as file:
        return [row[name] for row in csv.DictReader(file)]


def command(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """`synpose train` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, linear.__file__, "train", *arguments, "--device", "cpu"],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_run_learns_and_leaves_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Validation falls, each step has a row, and the best averaged weights come back as a network."""
    out = tmp_path / "out"
    assert main(["train", write(tmp_path, steps=300), "--out", str(out), "--device", "cpu"]) == 0
    assert capsys.readouterr().out == f"{out / 'last.pt'}\n"
    assert {path.name for path in out.iterdir()} == {"last.pt", "best.pt", "train.csv", "validation.csv"}
    assert column(out / "train.csv", "step") == [str(step) for step in range(1, 301)]
    assert column(out / "train.csv", "examples") == ["8.0"] * 300
    errors = [float(error) for error in column(out / "validation.csv", "error")]
    assert errors[0] > 3 * errors[-1]
    network, config = load_network(out / "best.pt")
    assert isinstance(network, nn.Sequential)
    assert config.task.network.dropout == 0.25
    assert linear.Linear(config.task, None).validate(network)["error"] == min(errors)
    assert load_checkpoint(out / "best.pt").best == min(errors)
    assert load_checkpoint(out / "last.pt").step == 300


def test_a_killed_run_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    """Killed between checkpoints and started again, a run logs and ends exactly as one that ran through."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    config = write(tmp_path, seconds=0.02)
    assert main(["train", config, "--out", str(whole), "--device", "cpu"]) == 0
    process = command(config, "--out", str(killed))
    while not (killed / "train.csv").exists() or len(column(killed / "train.csv", "step")) < 17:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert load_checkpoint(killed / "last.pt").step == 10
    assert main(["train", config, "--out", str(killed), "--device", "cpu"]) == 0
    for name in ("step", "loss", "lr", "gradient_norm", "worst"):
        assert column(killed / "train.csv", name) == column(whole / "train.csv", name)
    assert (killed / "validation.csv").read_text() == (whole / "validation.csv").read_text()
    one, other = load_checkpoint(whole / "last.pt"), load_checkpoint(killed / "last.pt")
    assert one.best == other.best
    for name, weights in one.ema.items():
        assert torch.equal(weights, other.ema[name])
    assert list(killed.glob("*.part")) == []


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def test_two_processes_are_one_with_two_batches(tmp_path: Path) -> None:
    """Two processes under torchrun's variables make the weights of one that accumulates two batches."""
    together, alone = tmp_path / "together", tmp_path / "alone"
    meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2"}
    config = write(tmp_path)
    processes = [
        command(config, "--out", str(together), **meet, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in (0, 1)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert main(["train", write(tmp_path, accumulate=2), "--out", str(alone), "--device", "cpu"]) == 0
    one, other = load_checkpoint(alone / "last.pt"), load_checkpoint(together / "last.pt")
    for name, weights in one.network.items():
        torch.testing.assert_close(weights, other.network[name], rtol=1e-5, atol=1e-6)
    losses, other_losses = (np.array(column(out / "train.csv", "loss"), float) for out in (alone, together))
    np.testing.assert_allclose(losses, other_losses, rtol=1e-5)


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the step, and the checkpoint from before stays as it was."""
    out = tmp_path / "out"
    assert main(["train", write(tmp_path, breaks_at=14), "--out", str(out), "--device", "cpu"]) == 2
    assert "error: step 15: the loss is nan" in capsys.readouterr().err
    checkpoint = load_checkpoint(out / "last.pt")
    assert checkpoint.step == 10
    assert all(torch.isfinite(weights).all() for weights in checkpoint.network.values())


def test_another_config_needs_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run of another config is not silently mixed in: the change is named, and --resume or --fresh decide."""
    out = tmp_path / "out"

    def again(*more: str, **changes: Any) -> int:
        return main(["train", write(tmp_path, **changes), "--out", str(out), "--device", "cpu", *more])

    assert again("--resume") == 2
    assert "there is no" in capsys.readouterr().err
    assert again(steps=20) == 0
    assert again(steps=30, checkpoint_every=7) == 2
    assert "another config (schedule.steps 20 → 30): --resume" in capsys.readouterr().err
    assert again("--resume", steps=30) == 0
    assert column(out / "train.csv", "step") == [str(step) for step in range(1, 31)]
    assert again("--fresh", "--steps", "12") == 0
    assert column(out / "train.csv", "step") == [str(step) for step in range(1, 13)]
    assert again("--steps", "12") == 0


def test_another_measure_of_the_best(tmp_path: Path) -> None:
    """A run that goes on with another `best` does not measure it against the lowest value of the old one."""
    out, config = tmp_path / "out", Path(write(tmp_path, steps=20))
    text = config.read_text()
    config.write_text(text.replace('best = "error"', 'best = "weight"'))
    begin = ["train", str(config), "--out", str(out), "--device", "cpu"]
    assert main(begin) == 0
    assert load_checkpoint(out / "last.pt").best == -1.0
    config.write_text(text.replace("steps = 20", "steps = 30"))
    assert main([*begin, "--resume"]) == 0
    assert load_checkpoint(out / "last.pt").best == float(column(out / "validation.csv", "error")[-1])
    assert load_checkpoint(out / "best.pt").step == 30


def test_weights_to_begin_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--init takes the averaged weights of another run, which validation before the first step shows."""
    first, second = tmp_path / "first", tmp_path / "second"
    config = write(tmp_path)
    assert main(["train", config, "--out", str(first), "--device", "cpu"]) == 0
    begin = ["train", config, "--out", str(second), "--device", "cpu", "--init", str(first / "last.pt")]
    assert main(begin) == 0
    assert "2 weights come from" in capsys.readouterr().err
    assert column(second / "validation.csv", "error")[0] == column(first / "validation.csv", "error")[-1]


def test_best_must_be_a_number_of_validation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt `best` is told before the first step."""
    config = Path(write(tmp_path))
    config.write_text(config.read_text().replace('best = "error"', 'best = "eror"'))
    assert main(["train", str(config), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 2
    assert "error: loop.best: validation gives error, weight, no 'eror'\n" in capsys.readouterr().err
    assert column(tmp_path / "out" / "train.csv", "step") == []


@pytest.mark.parametrize("threads", [1, 4])
def test_batches_do_not_depend_on_threads(threads: int) -> None:
    """Batches come in order, each drawn from a generator of its own, and an error comes in its batch's place."""
    task = TASKS["linear"].make(linear.LinearConfig(network=linear.LinearNetwork()), None)
    parts = [(step, rank) for step in range(5) for rank in (0, 1)]
    with batches_ahead(task, 3, parts, threads=threads, pin=False) as batches:
        drawn = [batch["x"] for batch in batches]
    for part, x in zip(parts, drawn, strict=True):
        assert torch.equal(x, task.batch(*part, np.random.default_rng((3, *part)))["x"])
    assert len({x.sum().item() for x in drawn}) == len(parts)


def test_train_as_a_function(tmp_path: Path) -> None:
    """The loop can be called without the command line."""
    config = Config.from_dict({"run": {"task": "linear"}, "schedule": {"steps": 2}})
    assert train(config, tmp_path, device="cpu") == tmp_path / "last.pt"
    assert load_checkpoint(tmp_path / "last.pt").config == config.to_dict()
