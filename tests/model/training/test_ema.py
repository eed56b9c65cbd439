"""Averaged weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from synpose_model.training.ema import Ema


def test_average_follows() -> None:
    """Steps by hand: a tenth of the old at first, then at most `decay`; the followed network is left alone."""
    network = nn.Linear(1, 1)
    nn.init.zeros_(network.weight)
    ema = Ema(network, decay=0.5)
    nn.init.ones_(network.weight)
    ema.update(network, 0)
    assert ema.network.get_parameter("weight").item() == pytest.approx(0.9)
    ema.update(network, 1000)
    assert ema.network.get_parameter("weight").item() == pytest.approx(0.95)
    assert network.weight.item() == 1.0
    assert not ema.network.get_parameter("weight").requires_grad


def test_no_averaging() -> None:
    """A decay of 0 is the network itself, to the bit."""
    network = nn.Linear(3, 3)
    ema = Ema(network, decay=0.0)
    nn.init.normal_(network.weight)
    ema.update(network, 7)
    assert torch.equal(ema.network.get_parameter("weight"), network.weight)


def test_buffers_are_copied() -> None:
    """Statistics of a batch norm, and its count, are those of the network."""
    network = nn.BatchNorm1d(2)
    ema = Ema(network, decay=0.9)
    network(torch.randn(8, 2) + 5)
    ema.update(network, 0)
    assert torch.equal(ema.network.get_buffer("running_mean"), network.get_buffer("running_mean"))
    assert ema.network.get_buffer("num_batches_tracked").item() == 1
    assert not ema.network.training
