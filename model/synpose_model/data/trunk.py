"""The frozen trunks as ONNX Runtime runs them, several times faster than torch on a CPU: crops to features."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synpose_model.bundle import BUNDLES
from synpose_model.export import write_graph
from synpose_model.movenet import VARIANTS, MoveNet
from synpose_model.pretrained import load_graph

__all__ = ["GRAPHS", "Trunk", "movenet"]

GRAPHS = {"thunder": BUNDLES / "accurate" / "spatial.onnx", "lightning": BUNDLES / "quick" / "spatial.onnx"}
"""Where each variant's weights lie in this package."""


def movenet(variant: str) -> MoveNet:
    """MoveNet with Google's weights, frozen."""
    network = MoveNet(variant)
    load_graph(network, GRAPHS[variant])
    return network.eval().requires_grad_(False)


class _Opened(nn.Module):
    """MoveNet with what it sees on the way."""

    def __init__(self, network: MoveNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network.features(images)
        return torch.cat((features, self.network.heatmap(features).sigmoid()), 1), self.network(images)


class Trunk:
    """`variant`'s trunk and heads: crops uint8 `(N, side, side, 3)` RGB to maps and keypoints.

    Maps are float16 `(N, 41, side/4, side/4)`: the trunk's 24 features and COCO's 17 heatmaps; keypoints
    float32 `(N, 17, 3)` in crop pixels with scores. Needs onnxruntime (extra `cpu` or `gpu`).
    """

    def __init__(self, variant: str, threads: int = 1) -> None:
        import onnxruntime as ort  # here: rays alone need none of it

        self.side = VARIANTS[variant].side
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trunk.onnx"
            images = torch.zeros(2, self.side, self.side, 3, dtype=torch.uint8)
            batch = {"images": {0: torch.export.Dim("batch")}}
            write_graph(_Opened(movenet(variant)), {"images": images}, batch, ["maps", "keypoints"], path)
            options = ort.SessionOptions()
            options.intra_op_num_threads = threads
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
        maps, keypoints = self._session.run(None, {"images": crops})
        return maps.astype(np.float16), keypoints
