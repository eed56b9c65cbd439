"""The ONNX graphs of the bundles, and how they are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import synpose_model
from synpose_model.export import OPSET, write_graph
from synpose_model.movenet import Conv, MoveNet
from synpose_model.multipose import MultiPose
from synpose_model.pretrained import load_graph

BUNDLES = Path(synpose_model.__file__).parent / "bundles"
DETECTOR = BUNDLES / "multipose" / "detector.onnx"
NETWORKS: dict[Path, Callable[[], nn.Module]] = {
    BUNDLES / "quick" / "spatial.onnx": lambda: MoveNet("lightning"),
    BUNDLES / "accurate" / "spatial.onnx": lambda: MoveNet("thunder"),
    DETECTOR: MultiPose,
}
SIDES = {"quick": 192, "accurate": 256, "multipose": 256}

GreyCrop = Callable[[str, int, int], NDArray[np.uint8]]
each_graph = pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.parent.name)


class Toy(nn.Module):
    """A small network with padding and a name for its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = Conv(3, 4, 3, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.conv(images.permute(0, 3, 1, 2).float())
        return out


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def both(path: Path, images: NDArray[np.uint8]) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Each output of torch, with the graph's own weights, and of ONNX Runtime."""
    network = NETWORKS[path]().eval()
    load_graph(network, path)
    with torch.inference_mode():
        outputs = network(torch.from_numpy(images))
    expected = outputs if isinstance(outputs, tuple) else (outputs,)
    return [(a.numpy(), b) for a, b in zip(expected, session(path).run(None, {"images": images}), strict=True)]


@each_graph
@pytest.mark.parametrize("batch", [1, 5])
def test_the_graph_answers_what_the_network_answers(path: Path, batch: int, grey_crop: GreyCrop) -> None:
    """On real crops and on noise, in batches of any size, torch and ONNX Runtime agree to a thousandth of a pixel."""
    side = SIDES[path.parent.name]
    views = [("cam03", 0), ("cam02", 30), ("cam01", 10), ("cam04", 20)]
    crops = [grey_crop(camera, frame, side) for camera, frame in views][:batch]
    crops += [np.random.default_rng(7).integers(0, 256, (side, side, 3), np.uint8)] * (batch - len(crops))
    for expected, got in both(path, np.stack(crops)):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, atol=1e-3)


@pytest.mark.parametrize(("height", "width"), [(256, 160), (192, 320)])
def test_the_detector_takes_any_sides_of_multiples_of_32(height: int, width: int, grey_crop: GreyCrop) -> None:
    """The graph of the detector is not bound to the sides that it was traced with."""
    images = grey_crop("cam03", 0, 320)[None, 30 : 30 + height, 320 - width :]
    (people, got_people), (boxes, got_boxes) = both(DETECTOR, np.ascontiguousarray(images))
    np.testing.assert_allclose(got_boxes, boxes, atol=1e-3)
    # a keypoint of nobody may lie at one of two equal peaks
    sure = boxes[..., 4] > 0.1
    assert sure.any()
    np.testing.assert_allclose(got_people[sure], people[sure], atol=1e-3)


@each_graph
def test_graphs_are_small_and_say_what_they_take(path: Path) -> None:
    """Every weight is stored as float16; inputs and outputs have the contract's names and types."""
    model = onnx.load(path)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    stored = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert {stored[name] for name in NETWORKS[path]().state_dict()} == {onnx.TensorProto.FLOAT16}
    (images,) = session(path).get_inputs()
    assert (images.name, images.type) == ("images", "tensor(uint8)")
    outputs = [output.name for output in session(path).get_outputs()]
    assert outputs == (["people", "boxes"] if path == DETECTOR else ["keypoints"])


@each_graph
def test_casts_cost_nothing_once_loaded(path: Path, tmp_path: Path) -> None:
    """ONNX Runtime folds each cast of a weight and fuses each ReLU6 into its convolution."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3  # it warns that the file fits this machine only
    onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    optimized = onnx.load(tmp_path / "optimized.onnx")
    assert onnx.TensorProto.FLOAT16 not in {tensor.data_type for tensor in optimized.graph.initializer}
    produced_by = {name: node.op_type for node in optimized.graph.node for name in node.output}
    clipped = [
        node for node in optimized.graph.node if node.op_type == "Clip" and produced_by.get(node.input[0]) == "Conv"
    ]
    assert not clipped


def test_writing_twice_gives_the_same_bytes_and_no_trace_of_the_machine(tmp_path: Path) -> None:
    """A graph depends on nothing but the network: no paths, no traces."""
    torch.manual_seed(0)
    network = Toy().half().float()
    images = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    paths = [tmp_path / "one.onnx", tmp_path / "two.onnx"]
    for path in paths:
        write_graph(network, {"images": images}, {"images": {0: torch.export.Dim("batch")}}, ["maps"], path)
    one, two = (path.read_bytes() for path in paths)
    assert one == two
    assert b".py" not in one
    (maps,) = session(paths[0]).run(None, {"images": images[:1].numpy()})
    assert maps.shape == (1, 4, 16, 16)
