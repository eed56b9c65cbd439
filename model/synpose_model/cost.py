"""What a network costs: its parameters, and the multiply-adds of one answer, counted without computing anything."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from synpose_model.lifting import LiftingNetwork
from synpose_model.relation import RelationConfig
from synpose_model.spatial import SpatialConfig, SpatialNetwork

__all__ = ["Cost", "cost_of", "relation_cost", "spatial_cost"]


@dataclass(frozen=True)
class Cost:
    """`parameters` in all, `trained` those of them that are not a frozen trunk's; `multiply_adds` of one answer."""

    parameters: int
    trained: int
    multiply_adds: int


def spatial_cost(config: SpatialConfig) -> Cost:
    """Of one image, from pixels to keypoints and token, the trunk included."""
    images = torch.zeros(1, config.side, config.side, 3, dtype=torch.uint8, device="meta")
    return cost_of(SpatialNetwork(config), images)


def relation_cost(config: RelationConfig, times: int, views: int) -> Cost:
    """Of one window of `times` frame sets with `views` cameras, from rays to joints."""
    lead = (1, times, views)
    K = config.keypoints
    rays = [torch.zeros(*lead, *shape, device="meta") for shape in ((3,), (K, 3), (K,))]
    mask = torch.ones(lead, dtype=torch.bool, device="meta")
    tokens = [torch.zeros(*lead, config.token, device="meta")] if config.token else []
    return cost_of(LiftingNetwork(config), *rays, mask, *tokens)


def cost_of(network: nn.Module, *inputs: Tensor) -> Cost:
    """Of `network` on `inputs` that lie on the meta device, to which the network is moved.

    As papers count: matrix products and convolutions, one multiplication with its addition as one. What is done number
    by number (norms, softmax, the closed-form intersection of rays) is left out.
    """
    network = network.eval().to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*inputs)
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in network.parameters()]
    flops = counter.get_total_flops()  # a multiplication and an addition are two
    assert flops % 2 == 0, flops
    return Cost(sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained), flops // 2)
