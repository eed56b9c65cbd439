"""ONNX Runtime sessions: one a graph, loaded once, run by any thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from synpose.errors import BundleError
from synpose.skeleton import COCO17, Skeleton
from synpose_model.bundle import Bundle
from synpose_server.observe import measure, stage

__all__ = ["Graph", "Model"]

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Graph:
    """One ONNX graph on the provider that was asked for by name; a provider that did not load is a `BundleError`."""

    def __init__(self, path: Path, provider: str = "cpu", threads: int = 1) -> None:
        if provider not in _PROVIDERS:
            raise BundleError(f"no provider {provider!r}; there are {', '.join(_PROVIDERS)}", field="provider")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # waiting threads that spin would burn the cores that decode the next frames
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        wanted = _PROVIDERS[provider]
        if wanted not in ort.get_available_providers():
            raise BundleError(f"this installation of ONNX Runtime has no {wanted}", field="provider")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=[wanted])
        except Exception as error:  # ORT raises a family of its own for files that are no graphs
            raise BundleError(f"{path.name} cannot be loaded: {error}", field="model") from error
        if wanted not in self._session.get_providers():  # ORT only warns and falls back to the CPU
            raise BundleError(f"{wanted} did not start; ONNX Runtime fell back to the CPU", field="provider")
        self.inputs = {value.name: value.shape for value in self._session.get_inputs()}
        self.outputs = [value.name for value in self._session.get_outputs()]

    def run(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Outputs by name for inputs by name."""
        return dict(zip(self.outputs, self._session.run(None, inputs), strict=True))


class Model:
    """The graphs of one bundle, loaded and run once; raises `BundleError` for graphs that do not fit the manifest.

    `skeleton` names the J joints that are answered, `keypoint_skeleton` the K keypoints that an image gives: all of
    them, or COCO's alone, which every skeleton that is served begins with.
    """

    max_batch = 32  # images in one run of the spatial graph: bounds memory, costs no speed

    def __init__(self, bundle: Bundle, provider: str = "cpu", threads: int = 1) -> None:
        bundle.verify()
        if "detector" not in bundle.graphs:
            raise BundleError(f"bundle {bundle.name!r} has no detector to find people with", field="model")
        self.bundle = bundle
        # the relation graph is tiny: more threads would only wait for each other
        self._spatial = Graph(bundle.graphs["spatial"], provider, threads)
        self._relation = Graph(bundle.graphs["relation"], provider, 1)
        self._detector = Graph(bundle.graphs["detector"], provider, threads)
        self._reads_tokens = "tokens" in self._relation.inputs
        self.skeleton = self.keypoint_skeleton = bundle.skeleton
        try:
            self._run_once()
        except Exception as error:  # numpy and ORT raise many kinds for inputs that do not fit
            raise BundleError(f"bundle {bundle.name!r}: its graphs do not fit it ({error})", field="model") from error

    def _run_once(self) -> None:
        """Run every graph on nothing; raises whatever comes of names, types or shapes that are not the contract's."""
        side, J, V = self.bundle.crop_size, len(self.skeleton), self.bundle.min_views
        keypoints, tokens = self.read(np.zeros((1, side, side, 3), np.uint8))
        self.keypoint_skeleton = self._named(keypoints.shape)
        K, D = keypoints.shape[1], tokens.shape[1]
        if self._reads_tokens and not D:
            raise ValueError("the relation graph reads tokens, the spatial graph gives none")
        for T in {1, self.bundle.window}:
            lead = (1, T, V)
            rays, scores, given = np.zeros((*lead, K, 3)), np.zeros((*lead, K)), np.zeros((*lead, D))
            joints, sigma, _ = self.relate(np.zeros((*lead, 3)), rays, scores, np.ones(lead, np.bool_), given)
            if (joints.shape, sigma.shape) != ((1, T, J, 3), (1, T, J)):
                raise ValueError(f"{joints.shape} joints of {T} frame sets for {self.skeleton.name}")
        self.detect(np.zeros((32, 32, 3), np.uint8))

    def _named(self, shape: tuple[int, ...]) -> Skeleton:
        """The skeleton of one image's keypoints, of `shape` `(1, K, 3)`."""
        if self.skeleton.joints[: len(COCO17)] != COCO17.joints:  # the detector's, which people are found by
            raise ValueError(f"{self.skeleton.name} does not begin with the joints of {COCO17.name}")
        for skeleton in (self.skeleton, COCO17):
            if shape == (1, len(skeleton), 3):
                return skeleton
        raise ValueError(f"{shape} keypoints for {self.skeleton.name}")

    @stage("spatial")
    def read(self, crops: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Crops `(N, S, S, 3)` RGB to keypoints `(N, K, 3)`, x, y in crop pixels and score, and tokens `(N, D)`.

        D is 0 for a graph that gives no tokens.
        """
        measure("batch", len(crops))
        parts = [
            self._spatial.run(images=crops[start : start + self.max_batch])
            for start in range(0, len(crops), self.max_batch)
        ]
        keypoints = np.concatenate([part["keypoints"] for part in parts]).astype(np.float64)
        if "tokens" not in parts[0]:
            return keypoints, np.zeros((len(crops), 0))
        return keypoints, np.concatenate([part["tokens"] for part in parts]).astype(np.float64)

    @stage("relation")
    def relate(
        self,
        origins: NDArray[np.float64],
        directions: NDArray[np.float64],
        scores: NDArray[np.float64],
        view_mask: NDArray[np.bool_],
        tokens: NDArray[np.float64] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Rays `(B, T, V, K, 3)` in the world frame to joints `(B, T, J, 3)`, sigma `(B, T, J)`, view weights.

        `tokens` `(B, T, V, D)` are what `read` gave; a graph that reads none does not get them. Works around the middle
        of the rig, so that a world origin far away costs no precision.
        """
        middle = origins.mean((0, 1, 2))
        given = {"tokens": tokens.astype(np.float32)} if self._reads_tokens and tokens is not None else {}
        out = self._relation.run(
            origins=(origins - middle).astype(np.float32),
            directions=directions.astype(np.float32),
            scores=scores.astype(np.float32),
            view_mask=view_mask,
            **given,
        )
        joints = out["joints"].astype(np.float64) + middle
        return joints, out["sigma"].astype(np.float64), out["view_weights"].astype(np.float64)

    @stage("detect")
    def detect(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """An RGB image `(H, W, 3)` to `people` `(N, K, 3)` and `boxes` `(N, 5)` (x0 y0 x1 y1 score), in its pixels."""
        out = self._detector.run(images=image[None])
        return out["people"][0].astype(np.float64), out["boxes"][0].astype(np.float64)
