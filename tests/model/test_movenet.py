"""MoveNet in PyTorch: shapes, padding, decoding, and what Google's own graphs answer.

`movenet_original.json` holds the outputs of the published graphs, run once by TensorFlow.js 4 on its plain CPU
backend, for the grey crops of frame 30 of cam02 and of frame 0 of cam03: rows of y, x, score for each keypoint, or 56
numbers for each person.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import synpose_model
from synpose.errors import BundleError
from synpose_model import movenet, multipose
from synpose_model.movenet import MoveNet
from synpose_model.multipose import MultiPose
from synpose_model.pretrained import load_graph

BUNDLES = Path(synpose_model.__file__).parent / "bundles"
GRAPHS = {"lightning": BUNDLES / "quick" / "spatial.onnx", "thunder": BUNDLES / "accurate" / "spatial.onnx"}
DETECTOR = BUNDLES / "multipose" / "detector.onnx"
# from the originals' cells to pixels; Lightning's graph holds 1/48 rounded to float16
ORIGINAL_SCALE = {"lightning": 4 / float(np.float16(1 / 48)), "thunder": 256.0, "multipose": 256.0}

GreyCrop = Callable[[str, int, int], NDArray[np.uint8]]


def original(model: str) -> NDArray[np.float64]:
    outputs: NDArray[np.float64] = np.array(
        json.loads(Path(__file__).with_name("movenet_original.json").read_text())[model]
    )
    return outputs


def same_crops(grey_crop: GreyCrop, side: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([grey_crop("cam02", 30, side), grey_crop("cam03", 0, side)]))


def score_map(shape: tuple[int, ...], peaks: dict[tuple[int, ...], float]) -> torch.Tensor:
    out = torch.zeros(shape)
    for index, value in peaks.items():
        out[index] = value
    return out


@pytest.mark.parametrize(
    ("network", "parameters"),
    [(lambda: MoveNet("lightning"), 2_317_974), (lambda: MoveNet("thunder"), 6_226_046), (MultiPose, 4_723_346)],
)
def test_parameter_counts(network: Callable[[], torch.nn.Module], parameters: int) -> None:
    """The networks have exactly as many weights as Google's."""
    assert sum(p.numel() for p in network().parameters()) == parameters


@pytest.mark.parametrize(("variant", "side", "cells"), [("lightning", 192, 48), ("thunder", 256, 64)])
def test_features_are_a_quarter_of_the_crop(variant: str, side: int, cells: int) -> None:
    """The trunk gives 24 channels at stride 4."""
    images = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    with torch.inference_mode():
        assert MoveNet(variant).features(images).shape == (2, 24, cells, cells)


def test_stride_two_pads_only_the_bottom_and_the_right() -> None:
    """TensorFlow's SAME padding of even sides: a kernel of ones counts 9 inside, 6 and 4 at the far edges."""
    conv = movenet.Conv(1, 1, 3, stride=2)
    torch.nn.init.ones_(conv.weight)
    torch.nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    with torch.inference_mode():
        out = conv(torch.ones(1, 1, 4, 4))
    assert out.tolist() == [[[[9.0, 6.0], [6.0, 4.0]]]]


def test_decoding_goes_from_the_person_in_the_middle_to_its_keypoints() -> None:
    """Of two people the one nearer the middle is taken, of two peaks the one nearer its guess, plus the offset."""
    centre = score_map((1, 1, 12, 12), {(0, 0, 6, 5): 0.8, (0, 0, 1, 1): 0.9})
    displacement = torch.zeros(1, 34, 12, 12)
    displacement[0, 0::2, 6, 5] = 2.0  # every guess is two rows below the centre, at row 8
    displacement[0, 1::2, 6, 5] = -1.0  # and one column to the left, at column 4
    heatmap = torch.full((1, 17, 12, 12), 0.01)
    heatmap[0, :, 8, 3] = 0.5  # one cell off the guess: 0.5 / 2.8
    heatmap[0, :, 2, 9] = 0.9  # far away: 0.9 / 9.6
    offset = torch.zeros(1, 34, 12, 12)
    offset[0, 2 * 7, 8, 3] = 0.25  # of keypoint 7 alone
    offset[0, 2 * 7 + 1, 8, 3] = 0.75
    keypoints = movenet.decode(heatmap, centre, displacement, offset)
    expected = torch.tensor([3.0 * 4 - 0.25, 8.0 * 4 - 0.25, 0.5]).repeat(17, 1)
    expected[7] = torch.tensor([3.75 * 4 - 0.25, 8.25 * 4 - 0.25, 0.5])
    torch.testing.assert_close(keypoints, expected[None])


def test_decoding_keeps_the_images_of_a_batch_apart() -> None:
    """Each image of a batch is decoded as it would be alone."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.rand(5, channels, 16, 12, generator=generator) for channels in (17, 1, 34, 34)]
    alone = torch.cat([movenet.decode(*(m[i : i + 1] for m in maps)) for i in range(5)])
    assert torch.equal(movenet.decode(*maps), alone)


def test_multipose_finds_each_peak_and_its_box() -> None:
    """Two centres give two people, the better first; a weaker centre within two cells is none; boxes are clipped."""
    centre = score_map((1, 1, 8, 16), {(0, 0, 2, 3): 0.5, (0, 0, 2, 5): 0.4, (0, 0, 6, 12): 0.9})
    box_size = torch.full((1, 2, 8, 16), 4.0)
    box_offset = torch.zeros(1, 2, 8, 16)
    box_offset[0, 1] = 0.5
    heatmap = torch.zeros(1, 17, 8, 16)
    heatmap[0, 0, 2, 3] = heatmap[0, 0, 6, 12] = 0.6  # only the nose is seen
    zeros = torch.zeros(1, 34, 8, 16)
    people, boxes = multipose.decode(centre, box_size, box_offset, heatmap, zeros, zeros)
    # the box of the centre at row 6, column 12 is rows 4 to 8 and columns 10.5 to 14.5
    expected = [[10.5 * 4, 4.0 * 4, 14.5 * 4, 8.0 * 4], [1.5 * 4, 0.0, 5.5 * 4, 4.0 * 4]]
    torch.testing.assert_close(boxes[0, :2, :4], torch.tensor(expected) - 0.25)
    torch.testing.assert_close(boxes[0, :, 4], torch.tensor([0.9 * 0.6, 0.5 * 0.6, 0, 0, 0, 0]))
    torch.testing.assert_close(people[0, :2, 0], torch.tensor([[47.75, 23.75, 0.6], [11.75, 7.75, 0.6]]))


@pytest.mark.parametrize("variant", ["lightning", "thunder"])
def test_single_pose_answers_what_the_original_answers(variant: str, grey_crop: GreyCrop) -> None:
    """On real crops every keypoint is where Google's graph has it, moved by the quarter pixel of its zero."""
    network = MoveNet(variant)
    load_graph(network, GRAPHS[variant])
    with torch.inference_mode():
        keypoints = network.eval()(same_crops(grey_crop, network.variant.side)).numpy()
    theirs = original(variant)
    np.testing.assert_allclose(keypoints[..., :2], theirs[..., 1::-1] * ORIGINAL_SCALE[variant] - 0.25, atol=2e-3)
    np.testing.assert_allclose(keypoints[..., 2], theirs[..., 2], atol=1e-4)


def test_multipose_answers_what_the_original_answers(grey_crop: GreyCrop) -> None:
    """On real crops every person, box and score is Google's; the bystander of cam02 is found."""
    network = MultiPose()
    load_graph(network, DETECTOR)
    with torch.inference_mode():
        people, boxes = (out.numpy() for out in network.eval()(same_crops(grey_crop, 256)))
    theirs = original("multipose")
    keypoints = theirs[..., :51].reshape(2, 6, 17, 3)
    np.testing.assert_allclose(people[..., :2], keypoints[..., 1::-1] * 256 - 0.25, atol=2e-3)
    np.testing.assert_allclose(people[..., 2], keypoints[..., 2], atol=1e-4)
    np.testing.assert_allclose(boxes[..., :4], theirs[..., [52, 51, 54, 53]] * 256 - 0.25, atol=2e-3)
    np.testing.assert_allclose(boxes[..., 4], theirs[..., 55], atol=1e-4)
    assert (boxes[..., 4] > 0.3).sum(1).tolist() == [2, 1]


@pytest.mark.parametrize("graph", ["quick", "nothing"])
def test_weights_of_another_network_are_refused(graph: str, tmp_path: Path) -> None:
    """Lightning's weights, and a file that is no graph, do not fit Thunder: a `BundleError` names the file."""
    path = GRAPHS["lightning"]
    if graph == "nothing":
        path = tmp_path / "nothing.onnx"
        path.write_bytes(b"\x00nothing")
    with pytest.raises(BundleError, match=path.stem):
        load_graph(MoveNet("thunder"), path)
