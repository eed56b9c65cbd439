"""Trained networks as graphs: what ONNX Runtime answers is what torch does, for clips and batches of any size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from tests.model.test_lifting import CONFIG, clips, shaken

from synpose_model.export import export_lifting, export_spatial_network, rounded
from synpose_model.presets import PRESETS
from synpose_model.spatial import SpatialNetwork

NAMES = ("origins", "directions", "scores", "view_mask", "tokens")


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


@pytest.mark.skip(reason="exporting takes minutes; `synpose export` compares graph and network each time it runs")
def test_the_relation_graph_answers_what_the_network_answers(tmp_path: Path) -> None:
    """One graph for every number of people, instants and views, with a view missing, to a tenth of a millimetre."""
    config = replace(CONFIG, token=16, smoothing=1)  # all parts; smoothing is one node for each instant around
    network = shaken(config)
    export_lifting(network, tmp_path / "relation.onnx")
    run, network = session(tmp_path / "relation.onnx"), rounded(network)
    for views, times in ((1, 3), (2, 1), (5, 3)):
        clip = [part[:, :times] for part in clips(views, views, config)]
        clip[3][0, 0, 0] = False
        with torch.inference_mode():
            expected = network(*clip)
        got = run.run(None, {name: part.numpy() for name, part in zip(NAMES, clip, strict=False)})
        for torchs, onnxs, most in zip(expected, got, (1e-4, 1e-4, 1e-3), strict=True):
            np.testing.assert_allclose(onnxs, torchs.numpy(), atol=most, rtol=0)


def test_the_spatial_graph_answers_what_the_network_answers(tmp_path: Path) -> None:
    """Keypoints to a hundredth of a pixel, and tokens."""
    torch.manual_seed(0)
    network = SpatialNetwork(PRESETS["testing"].spatial)
    export_spatial_network(network, tmp_path / "spatial.onnx")
    run, network = session(tmp_path / "spatial.onnx"), rounded(network)
    for count in (1, 5):
        images = torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8)
        with torch.inference_mode():
            expected = network(images)
        for torchs, onnxs in zip(expected, run.run(None, {"images": images.numpy()}), strict=True):
            np.testing.assert_allclose(onnxs, torchs.numpy(), atol=1e-2, rtol=1e-3)


def test_the_graph_of_a_network_that_expects_is_told_what(tmp_path: Path) -> None:
    """In pixels of the crop, for any number of crops."""
    torch.manual_seed(0)
    network = SpatialNetwork(replace(PRESETS["testing"].spatial, expects=True))
    network.module.expect.weight.data.normal_()
    export_spatial_network(network, tmp_path / "spatial.onnx")
    run, network = session(tmp_path / "spatial.onnx"), rounded(network)
    for count in (1, 5):
        images = torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8)
        told = torch.rand(count, 27, 2) * 32
        with torch.inference_mode():
            expected = network(images, told)
        got = run.run(None, {"images": images.numpy(), "expected": told.numpy()})
        for torchs, onnxs in zip(expected, got, strict=True):
            np.testing.assert_allclose(onnxs, torchs.numpy(), atol=1e-2, rtol=1e-3)


def test_weights_are_stored_as_halves_and_nothing_is_lost(tmp_path: Path) -> None:
    """Rounding changes the copy, to float16 numbers, and the graph keeps them as such; the network stays as it was."""
    torch.manual_seed(0)
    network = SpatialNetwork(PRESETS["testing"].spatial)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    copy = rounded(network).state_dict()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
        assert torch.equal(copy[name], copy[name].half().float())
        torch.testing.assert_close(copy[name], value, atol=1e-4, rtol=1e-3)
    export_spatial_network(network, tmp_path / "spatial.onnx")
    stored = {tensor.name: tensor for tensor in onnx.load(tmp_path / "spatial.onnx").graph.initializer}
    halves = [name for name, tensor in stored.items() if tensor.data_type == TensorProto.FLOAT16]
    assert sum(int(np.prod(stored[name].dims)) for name in halves) > 0.95 * sum(v.numel() for v in copy.values())
