"""Checkpoints on disk: whole, safe to read, and of one layout."""

from __future__ import annotations

import pickle
import resource
from pathlib import Path

import pytest
import torch
from tests.model.training import linear  # noqa: F401  # registers its task
from torch import nn

from synpose.errors import InvalidInput, ServerError
from synpose_model.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_network,
    load_weights,
    save_checkpoint,
    start_from,
)
from synpose_model.training.config import Config

CONFIG = Config.from_dict({"run": {"task": "linear"}, "schedule": {"steps": 10}}).to_dict()


def of(network: nn.Module, step: int = 5, version: int = 1) -> Checkpoint:
    weights = network.state_dict()
    return Checkpoint(step=step, config=CONFIG, network=weights, ema=weights, optimizer={}, best=None, version=version)


def test_round_trip(tmp_path: Path) -> None:
    """What was saved comes back, and nothing else lies beside it."""
    network, path = nn.Linear(3, 1), tmp_path / "last.pt"
    save_checkpoint(of(network, step=1), path)
    save_checkpoint(of(network, step=2), path)
    loaded = load_checkpoint(path)
    assert (loaded.step, loaded.config, loaded.best) == (2, CONFIG, None)
    assert torch.equal(loaded.ema["weight"], network.weight)
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk(tmp_path: Path) -> None:
    """A checkpoint that finds no room is told, and the one before it stays whole."""
    path = tmp_path / "last.pt"
    save_checkpoint(of(nn.Linear(3, 1)), path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(ServerError, match=r"cannot write .*last\.pt"):
            save_checkpoint(of(nn.Linear(100, 100), step=6), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_checkpoint(path).step == 5
    assert list(tmp_path.iterdir()) == [path]


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit",)


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    """Missing, cut, foreign and malicious files are each told in one line; no code in them runs."""
    path = tmp_path / "last.pt"
    with pytest.raises(InvalidInput, match=r"cannot read the checkpoint .*: No such file"):
        load_checkpoint(path)
    save_checkpoint(of(nn.Linear(3, 1)), path)
    whole = path.read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2], pickle.dumps({"version": 1})):
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match=r"last\.pt is "):
            load_checkpoint(path)
    torch.save(Evil(), path)
    with pytest.raises(InvalidInput, match=r"last\.pt is broken, or not a checkpoint"):
        load_checkpoint(path)
    save_checkpoint(of(nn.Linear(3, 1), version=2), path)
    with pytest.raises(InvalidInput, match="is not a checkpoint of version 1"):
        load_checkpoint(path)


def test_weights_of_another_network(tmp_path: Path) -> None:
    """Averaged weights that do not fit the config's network are an error of the checkpoint."""
    path = tmp_path / "last.pt"
    save_checkpoint(of(nn.Linear(3, 1)), path)
    with pytest.raises(InvalidInput, match=r"last\.pt are another network's"):
        load_network(path)


def test_what_is_frozen_need_not_be_in_the_file(tmp_path: Path) -> None:
    """Frozen weights come with the network: a checkpoint without them is whole, one without others is not."""
    trunk, head = nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 1)
    whole, weight = nn.ModuleDict({"trunk": trunk, "head": head}), trunk.weight.clone()
    load_weights(whole, {"head.weight": torch.ones(1, 2), "head.bias": torch.zeros(1)}, tmp_path)
    assert torch.equal(trunk.weight, weight)
    assert torch.equal(head.weight, torch.ones(1, 2))
    with pytest.raises(InvalidInput, match=r"1 are missing.*the first of them head\.bias"):
        load_weights(whole, {"head.weight": torch.ones(1, 2)}, tmp_path)


def test_start_from_what_fits(tmp_path: Path) -> None:
    """Weights of the same name and shape are taken, the others told; none at all is an error."""
    path = tmp_path / "last.pt"
    source = nn.ModuleDict({"same": nn.Linear(2, 2), "wider": nn.Linear(2, 3, bias=False)})
    target = nn.ModuleDict({"same": nn.Linear(2, 2), "wider": nn.Linear(2, 4, bias=False), "new": nn.PReLU()})
    save_checkpoint(of(source), path)
    started = start_from(target, path)
    assert started == (
        ["same.weight", "same.bias"],
        ["wider.weight", "new.weight"],
        ["wider.weight"],
    )
    assert torch.equal(target.get_parameter("same.weight"), source.get_parameter("same.weight"))
    with pytest.raises(InvalidInput, match=r"no weight of .*last\.pt"):
        start_from(nn.Linear(2, 2), path)
