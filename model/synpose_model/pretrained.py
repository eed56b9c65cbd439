"""Google's weights for `movenet` and `multipose`: out of the TF.js package, or out of a graph exported from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from torch import nn

from synpose.errors import BundleError
from synpose_model.movenet import Head
from synpose_model.tfjs import read_weights

__all__ = ["load_graph", "load_package"]

_ROOT = "StatefulPartitionedCall"
_PYRAMID = f"{_ROOT}/center_net_mobile_net_v2fpn_feature_extractor/model_1"
_HEADS = {
    "centre": "center_0",
    "box_size": "box_scale_0",
    "box_offset": "box_offset_0",
    "heatmap": "kpt_heatmap_0",
    "displacement": "kpt_regress_0",
    "offset": "kpt_offset_0",
}


def load_package(network: nn.Module, package: Path, model: str) -> None:
    """Fill `network` with the weights of the TF.js graph model `model` of the npm package `package` (folder or .tgz).

    Raises `BundleError` where they cannot be read or are not of this network.
    """
    weights = read_weights(package, model)
    try:
        state = {name: _torch_layout(weights[original], name) for name, original in _original_names(network).items()}
        network.load_state_dict(state)
    except (KeyError, RuntimeError) as error:
        raise BundleError(f"{model} does not hold the weights of this network: {error}") from error


def load_graph(network: nn.Module, path: Path) -> None:
    """Fill `network` with the weights of the ONNX graph `path` that `synpose_model.export` made of such a network.

    Raises `BundleError` where they cannot be read or are not of this network.
    """
    try:
        initializers = {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}
        state = {
            name: torch.from_numpy(onnx.numpy_helper.to_array(initializers[name]).astype(np.float32))
            for name in network.state_dict()
        }
        network.load_state_dict(state)
    except (OSError, DecodeError, KeyError, RuntimeError) as error:
        raise BundleError(f"{path} does not hold the weights of this network: {error}") from error


def _torch_layout(weight: NDArray[Any], name: str) -> torch.Tensor:
    """TensorFlow's (height, width, in, out), or (height, width, channels, 1), as torch's (out, in, height, width)."""
    if weight.ndim == 4:
        weight = weight.transpose((2, 3, 0, 1) if name.endswith("depthwise.weight") else (3, 2, 0, 1))
    return torch.from_numpy(np.ascontiguousarray(weight))


def _original_names(network: nn.Module) -> dict[str, str]:
    """For each entry of the network's state the weight that holds it in Google's graph.

    Keras numbered its layers as they were made, so a layer's number tells its place in the pyramid and, of the heads,
    their order, which is that of the network's attributes.
    """
    names: dict[str, str] = {}

    def put(layer: str, weight: str, bias: str | None) -> None:
        names[f"{layer}.weight"] = weight
        if bias is not None:
            names[f"{layer}.bias"] = bias

    def put_normalized(layer: str, original: str, kind: str = "Conv2D") -> None:  # batch norm folded in by TF.js
        put(layer, f"{original}/{kind}_weights", f"{original}/{kind}_bn_offset")

    def put_plain(layer: str, original: str) -> None:
        put(layer, f"{original}/Conv2D/ReadVariableOp", f"{original}/BiasAdd/ReadVariableOp")

    put_normalized("trunk.stem", f"{_PYRAMID}/model/Conv1")
    put_normalized("trunk.top", f"{_PYRAMID}/model/Conv_1")
    for index in range(17):
        block = f"{_PYRAMID}/model/" + (f"block_{index}" if index else "expanded_conv")
        if index:
            put_normalized(f"trunk.blocks.{index}.expand", f"{block}_expand")
        put_normalized(f"trunk.blocks.{index}.depthwise", f"{block}_depthwise", "depthwise")
        put_normalized(f"trunk.blocks.{index}.project", f"{block}_project")

    put_plain("trunk.reduce", f"{_PYRAMID}/conv2d")
    for index in range(3):
        put_plain(f"trunk.laterals.{index}", f"{_PYRAMID}/conv2d_{index + 1}")
        separable = f"{_PYRAMID}/separable_conv2d" + (f"_{index}" if index else "") + "/separable_conv2d"
        put(f"trunk.merges.{index}.depthwise", f"{separable}/ReadVariableOp", None)
        put(f"trunk.merges.{index}.pointwise", f"{separable}_weights", f"{separable}_bn_offset")

    heads = [name for name, child in network.named_children() if isinstance(child, Head)]
    for number, head in enumerate(heads, start=3):
        original = f"{_ROOT}/{_HEADS[head]}"
        separable = f"{original}/separable_conv2d_{number}"
        put(f"{head}.0.depthwise", f"{separable}/separable_conv2d/ReadVariableOp", None)
        put(
            f"{head}.0.pointwise",
            f"{separable}/separable_conv2d/ReadVariableOp_1",
            f"{separable}/BiasAdd/ReadVariableOp",
        )
        put_plain(f"{head}.1", f"{original}/conv2d_{number + 1}")
    return names
