"""The graphs of a model: loaded once, shared by everything that runs, each behind its batcher."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias
from weakref import WeakValueDictionary

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from synpose.errors import BundleError
from synpose.skeleton import COCO17, Skeleton
from synpose_model.bundle import Bundle
from synpose_model.crop import letterbox, nowhere
from synpose_model.image import Image
from synpose_server.batcher import Arrays, Batcher, count, joined
from synpose_server.cores import step_back
from synpose_server.job import Job
from synpose_server.lanes import Lanes
from synpose_server.observe import stage
from synpose_server.providers import find_provider
from synpose_server.stats import Stats

__all__ = ["BatchedGraph", "Detected", "Graph", "Model", "Readings", "Shared", "shrunk"]

DETECTOR_SIDE = 512
"""Long side of the image that the detector sees: people down to about 60 px in it."""


class Graph:
    """One ONNX graph on the provider that was asked for by name; a provider that did not load is a `BundleError`.

    On the CPU as many runs may be made at once as `lanes` has threads, of one thread if it is left out: a session has
    its number of threads for good, so there is one for each that a run may get. A GPU runs one of `sizes` items, each
    in a session of its own: what a session has planned for one size is lost with the next.
    """

    def __init__(
        self, path: Path, provider: str = "cpu", lanes: Lanes | None = None, sizes: Sequence[int] = ()
    ) -> None:
        self.provider = find_provider(provider)
        self._lanes = Lanes(1) if lanes is None else lanes
        threads = self._lanes.threads
        widths = self._lanes.widths if self.provider.is_cpu else (threads,)
        self._sizes = tuple(sizes)
        # by items on a GPU, else by threads
        self._sessions = {key: self._loaded(path, threads if sizes else key) for key in self._sizes or widths}
        self._session = next(iter(self._sessions.values()))
        self.signature = (self._session.get_inputs(), self._session.get_outputs())
        self.inputs = {value.name: value.shape for value in self._session.get_inputs()}
        self.outputs = [value.name for value in self._session.get_outputs()]

    def _loaded(self, path: Path, threads: int) -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # waiting threads that spin would burn the cores that decode the next frames
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            with ThreadPoolExecutor(1, initializer=step_back) as loader:  # whose niceness the session's threads inherit
                return loader.submit(self.provider.session, str(path), options).result()
        except BundleError:
            raise
        except Exception as error:  # ORT raises a family of its own for files that are no graphs
            raise BundleError(f"{path.name} cannot be loaded: {error}", field="model") from error

    @property
    def at_once(self) -> int:
        """How many runs may be made at once."""
        return self._lanes.threads if self.provider.is_cpu else 1

    def run(self, inputs: Arrays) -> Arrays:
        """Outputs by name for inputs by name, all with a leading axis of items."""
        if self._sizes:
            return self._run_bound(inputs)
        if not self.provider.is_cpu:
            return self._answer(self._session, inputs)
        with self._lanes.run() as share:
            answers = []
            for width, parts in self._lanes.rounds(count(inputs), share):
                cut = ({name: value[part] for name, value in inputs.items()} for part in parts)
                answers += self._lanes.together([partial(self._answer, self._sessions[width], part) for part in cut])
            return joined(answers)

    def _answer(self, session: Any, inputs: Arrays) -> Arrays:
        return dict(zip(self.outputs, session.run(None, inputs), strict=True))

    def warm_up(self, item: Arrays) -> None:
        """Run what `item` shows once in each size: the first run of a session takes a second or two."""
        for size in self._sizes:
            self.run({name: np.repeat(value, size, axis=0) for name, value in item.items()})

    def _run_bound(self, inputs: Arrays) -> Arrays:
        """A run on the device with the least of the sizes that holds all items, the further ones empty."""
        items = count(inputs)
        size = min(size for size in self._sizes if size >= items)
        session = self._sessions[size]
        binding = session.io_binding()
        for name, value in inputs.items():
            binding.bind_cpu_input(name, padded(value, 0, size))
        for name in self.outputs:
            binding.bind_output(name)
        session.run_with_iobinding(binding)
        answers = binding.copy_outputs_to_cpu()
        return {name: value[:items] for name, value in zip(self.outputs, answers, strict=True)}


def padded(value: NDArray[Any], axis: int, size: int) -> NDArray[Any]:
    """`value` with zeros behind it along `axis`, up to `size`; contiguous."""
    missing = [(0, size - value.shape[a] if a == axis else 0) for a in range(value.ndim)]
    return np.ascontiguousarray(np.pad(value, missing))


def shrunk(image: Image) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """The transform `(2, 3)` from what the detector sees of a whole image to its pixels, and that picture, RGB."""
    transform, side = letterbox(image.size, DETECTOR_SIDE)
    return transform, image.crop(transform, side)


def _square(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    side = max(DETECTOR_SIDE, *image.shape)
    return padded(padded(image, 0, side), 1, side)


class BatchedGraph(Batcher):
    """A graph of a bundle behind its batcher."""

    def __init__(self, bundle: Bundle, kind: str, provider: str, lanes: Lanes | None, stats: Stats | None) -> None:
        path = bundle.graphs[kind]
        runs = find_provider(provider).of(kind)
        self.graph = Graph(path, runs.name, lanes, runs.sizes(kind))
        # a graph that bundles share lies in a folder of its own
        owner = bundle.name if path.parent.name == bundle.version else path.parent.name
        super().__init__(f"{owner}.{kind}", self.graph.run, runs.limit(kind), stats, self.graph.at_once)


Shared: TypeAlias = WeakValueDictionary[tuple[str, str], BatchedGraph]
"""Graphs by kind and checksum, each for as long as a model has it."""


class Readings(NamedTuple):
    """What a spatial graph sees in N crops, x and y in crop pixels.

    `keypoints` `(N, K, 3)` with their scores; `tokens` `(N, D)`, D is 0 for a graph that gives none; `alternatives`
    `(N, K, 3)`, where else each joint may be, of score 0 for a graph that does not say.
    """

    keypoints: NDArray[np.float64]
    tokens: NDArray[np.float64]
    alternatives: NDArray[np.float64]


class Detected(NamedTuple):
    """Who is found in an image: `people` `(N, K, 3)` and `boxes` `(N, 5)` (x0 y0 x1 y1 score), in its pixels."""

    people: NDArray[np.float64]
    boxes: NDArray[np.float64]


class Model:
    """The graphs of one bundle, loaded and run once; raises `BundleError` for graphs that do not fit the manifest.

    Its calls block and may come from any thread: they meet in one batcher a graph. Those of `bound(job)` are made for
    that job. Graphs that `shared` holds already are not loaded again. `skeleton` names the J joints that are answered,
    `keypoint_skeleton` the K keypoints that an image gives: all of them, or COCO's alone, which every skeleton that is
    served begins with. `lanes` are the cores that its graphs run on, for other work of theirs, too.
    """

    def __init__(
        self,
        bundle: Bundle,
        provider: str = "cpu",
        lanes: Lanes | None = None,
        stats: Stats | None = None,
        shared: Shared | None = None,
    ) -> None:
        self.lanes = Lanes(1) if lanes is None else lanes
        bundle.verify()
        if "detector" not in bundle.graphs:
            raise BundleError(f"bundle {bundle.name!r} has no detector to find people with", field="model")
        self.bundle = bundle
        self._job = Job()
        self._provider = find_provider(provider)
        shared = WeakValueDictionary() if shared is None else shared
        self.graphs: dict[str, BatchedGraph] = {}
        for kind in ("spatial", "relation", "detector"):
            graph = shared.get(key := (kind, bundle.checksums[kind]))
            if graph is None:
                # the relation graph is tiny: more threads would only wait for each other
                graph = BatchedGraph(bundle, kind, provider, None if kind == "relation" else lanes, stats)
                shared[key] = graph
            self.graphs[kind] = graph
        self._reads_tokens = "tokens" in self.graphs["relation"].graph.inputs
        self.expects = "expected" in self.graphs["spatial"].graph.inputs
        self.skeleton = self.keypoint_skeleton = bundle.skeleton
        try:
            self._run_once()
        except Exception as error:  # numpy and ORT raise many kinds for inputs that do not fit
            raise BundleError(f"bundle {bundle.name!r}: its graphs do not fit it ({error})", field="model") from error

    def bound(self, job: Job) -> Self:
        """The same model, whose calls are made for `job`: in its turn, and not at all once it is over."""
        model = copy.copy(self)
        model._job = job
        return model

    def _run_once(self) -> None:
        """Run every graph on nothing; raises whatever comes of names, types or shapes that are not the contract's."""
        side, J, V = self.bundle.crop_size, len(self.skeleton), self.bundle.min_views
        keypoints, tokens, alternatives = self.read(np.zeros((1, side, side, 3), np.uint8))
        self.keypoint_skeleton = self._named(keypoints.shape)
        K, D = keypoints.shape[1], tokens.shape[1]
        if alternatives.shape != keypoints.shape:
            raise ValueError(f"{alternatives.shape} alternatives of {keypoints.shape} keypoints")
        if self._reads_tokens and not D:
            raise ValueError("the relation graph reads tokens, the spatial graph gives none")
        for T in {1, self.bundle.window}:
            lead = (1, T, V)
            rays, scores, given = np.zeros((*lead, K, 3)), np.zeros((*lead, K)), np.zeros((*lead, D))
            joints, sigma, _ = self.relate(np.zeros((*lead, 3)), rays, scores, np.ones(lead, np.bool_), given)
            if (joints.shape, sigma.shape) != ((1, T, J, 3), (1, T, J)):
                raise ValueError(f"{joints.shape} joints of {T} frame sets for {self.skeleton.name}")
        self.detect([np.zeros((32, 32, 3), np.uint8)])
        self.graphs["spatial"].graph.warm_up(self._images(np.zeros((1, side, side, 3), np.uint8)))
        image = np.zeros((1, DETECTOR_SIDE, DETECTOR_SIDE, 3), np.uint8)
        self.graphs["detector"].graph.warm_up({"images": image})

    def _named(self, shape: tuple[int, ...]) -> Skeleton:
        """The skeleton of one image's keypoints, of `shape` `(1, K, 3)`."""
        if self.skeleton.joints[: len(COCO17)] != COCO17.joints:  # the detector's, which people are found by
            raise ValueError(f"{self.skeleton.name} does not begin with the joints of {COCO17.name}")
        for skeleton in (self.skeleton, COCO17):
            if shape == (1, len(skeleton), 3):
                return skeleton
        raise ValueError(f"{shape} keypoints for {self.skeleton.name}")

    @stage("spatial")
    def read(self, crops: NDArray[np.uint8], expected: NDArray[np.float64] | None = None) -> Readings:
        """What is seen in crops `(N, S, S, 3)` RGB of people whose joints are `expected` `(N, K, 2)` in their pixels.

        NaN is for joints of which nothing is known; a graph that expects nothing is not told.
        """
        answer = self._run("spatial", **self._images(crops, expected))
        out = {name: value.astype(np.float64) for name, value in answer.items()}
        keypoints = out["keypoints"]
        tokens = out.get("tokens", np.zeros((len(crops), 0)))
        return Readings(keypoints, tokens, out.get("alternatives", np.zeros_like(keypoints)))

    def _images(self, crops: NDArray[np.uint8], expected: NDArray[np.float64] | None = None) -> Arrays:
        """What the spatial graph is given."""
        if not self.expects:
            return {"images": crops}
        untold = nowhere(crops, len(self.skeleton))
        told = untold if expected is None else np.where(np.isfinite(expected), expected, untold)
        return {"images": crops, "expected": told.astype(np.float32)}

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
        rays = {
            "origins": (origins - middle).astype(np.float32),
            "directions": directions.astype(np.float32),
            "scores": scores.astype(np.float32),
            "view_mask": view_mask,
        }
        if self._reads_tokens and tokens is not None:
            rays["tokens"] = tokens.astype(np.float32)
        out = self._run("relation", **rays)
        joints = out["joints"].astype(np.float64) + middle
        return joints, out["sigma"].astype(np.float64), out["view_weights"].astype(np.float64)

    @stage("detect")
    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detected]:
        """Who is in each of `images` `(H, W, 3)` RGB; those of one shape are one call."""
        if self._provider.is_gpu:  # one shape for all
            images = [_square(image) for image in images]
        found: dict[int, Detected] = {}
        for shape in {image.shape for image in images}:
            alike = [k for k, image in enumerate(images) if image.shape == shape]
            out = self._run("detector", images=np.stack([images[k] for k in alike]))
            for k, people, boxes in zip(alike, out["people"], out["boxes"], strict=True):
                found[k] = Detected(people.astype(np.float64), boxes.astype(np.float64))
        return [found[k] for k in range(len(images))]

    def _run(self, kind: str, **inputs: NDArray[Any]) -> Arrays:
        return self.graphs[kind](self._job, **inputs)
