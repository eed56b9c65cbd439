"""The raw graphs as the Open Inference Protocol (version 2) names them: models called `default.spatial`, tensors."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synpose.errors import InvalidInput, LimitExceeded, NotFound, SynposeError
from synpose_server.batcher import Arrays, joined
from synpose_server.engine import Engine
from synpose_server.job import Job
from synpose_server.runtime import BatchedGraph, Model

__all__ = ["DATATYPES", "RawGraph", "Tensor", "find_graph", "tensor_of"]

DATATYPES: Mapping[str, np.dtype[Any]] = {
    name: np.dtype(kind)
    for name, kind in {"BOOL": "?", "UINT8": "u1", "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4"}.items()
}
"""The protocol's names for the types that graphs have."""

_ORT_TYPES = {"bool": "BOOL", "uint8": "UINT8", "int32": "INT32", "int64": "INT64", "float16": "FP16", "float": "FP32"}
_MOST_ITEMS = 1024
_MOST_VIEWS = 16
_MOST_DIMENSIONS = 8


class Tensor(NamedTuple):
    """How a graph describes an input or output; -1 is a free dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class RawGraph:
    """One graph of a served model; `name` is `MODEL.GRAPH`."""

    def __init__(self, model: Model, kind: str, max_pixels: int) -> None:
        self.name, self.version = f"{model.bundle.name}.{kind}", model.bundle.version
        self._kind, self._window, self._max_pixels = kind, model.bundle.window, max_pixels
        self._graph: BatchedGraph = model.graphs[kind]
        self.inputs, self.outputs = (tuple(map(_tensor, part)) for part in self._graph.graph.signature)

    async def run(self, inputs: Arrays, job: Job) -> Arrays:
        """Outputs by name, in the graph's batcher beside all other work; raises `InvalidInput` or `LimitExceeded`."""
        self._check(inputs)
        try:
            parts = await asyncio.gather(*map(asyncio.wrap_future, self._graph.submit(job, inputs)))
        except BaseException as error:
            job.cancel()  # the other parts have nobody to go to
            if isinstance(error, SynposeError) or not isinstance(error, Exception):
                raise
            # ORT raises a family of its own for shapes that a graph cannot take
            raise InvalidInput(f"{self.name} cannot run on these inputs: {error}", field="inputs") from error
        return joined(parts)

    def wanted(self, names: Iterable[str]) -> list[str]:
        """The outputs called `names`, or all where none is named; raises `InvalidInput`."""
        there = [output.name for output in self.outputs]
        wanted = list(dict.fromkeys(names))
        if unknown := set(wanted) - set(there):
            raise InvalidInput(f"no output {', '.join(sorted(unknown))}; there are {', '.join(there)}", field="outputs")
        return wanted or there

    def _check(self, inputs: Arrays) -> None:
        """Everything that decides how much memory a run takes is checked before it."""
        wanted = {tensor.name: tensor for tensor in self.inputs}
        if wrong := set(wanted) ^ set(inputs):
            raise InvalidInput(f"unknown or missing inputs: {', '.join(sorted(wrong))}", field="inputs")
        for name, value in inputs.items():
            datatype, shape = wanted[name].datatype, wanted[name].shape
            if value.dtype != DATATYPES[datatype]:
                raise InvalidInput(f"{name} must be {datatype}", field=name)
            fits = value.ndim == len(shape) and all(w in (-1, n) for w, n in zip(shape, value.shape, strict=True))
            if not fits or not value.size:
                raise InvalidInput(f"{name} must have the shape {list(shape)}, not {list(value.shape)}", field=name)
        leads = {value.shape[: self._shared] for value in inputs.values()}
        if len(leads) > 1:
            raise InvalidInput(f"the inputs must share their first {self._shared} dimensions", field="inputs")
        (lead,) = leads
        if lead[0] > _MOST_ITEMS:
            raise LimitExceeded(f"at most {_MOST_ITEMS} items are accepted", field="inputs")
        if self._kind == "relation" and (lead[1] > self._window or lead[2] > _MOST_VIEWS):
            raise LimitExceeded(f"at most {self._window} times and {_MOST_VIEWS} views are accepted", field="inputs")
        if self._kind == "detector":
            height, width = lead[1:3]
            if height * width > self._max_pixels:
                raise LimitExceeded(f"images may have {self._max_pixels} pixels at most", field="inputs")
            if height % 32 or width % 32:
                raise InvalidInput("the sides of images must be multiples of 32", field="inputs")

    @property
    def _shared(self) -> int:
        return 1 if self._kind == "spatial" else 3


def find_graph(engine: Engine, name: str, version: str | None = None) -> RawGraph:
    """The graph that is called `MODEL.GRAPH`; raises `NotFound`."""
    model_name, _, kind = name.rpartition(".")
    if not model_name:
        raise NotFound(f"graphs are called MODEL.GRAPH, such as {name or 'default':.80}.spatial", field="model")
    model = engine.model(model_name)
    if kind not in model.graphs:
        raise NotFound(
            f"model {model_name!r} has no graph {kind!r:.80}; it has {', '.join(model.graphs)}", field="model"
        )
    if version not in (None, "", model.bundle.version):
        raise NotFound(f"{model_name!r} is served in version {model.bundle.version!r}", field="version")
    return RawGraph(model, kind, engine.settings.max_pixels)


def tensor_of(datatype: str, shape: Sequence[int], data: bytes | Sequence[Any], name: str) -> NDArray[Any]:
    """The array of an input's parts, its `data` raw bytes or numbers; raises `InvalidInput`."""
    if datatype not in DATATYPES:
        raise InvalidInput(f"{name} has the datatype {datatype!r}; there are {', '.join(DATATYPES)}", field=name)
    kind = DATATYPES[datatype]
    if len(shape) > _MOST_DIMENSIONS:
        raise InvalidInput(f"{name} has {len(shape)} dimensions; at most {_MOST_DIMENSIONS} are accepted", field=name)
    try:
        flat = np.frombuffer(data, kind) if isinstance(data, bytes) else np.asarray(data, kind).reshape(-1)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(f"{name} is not made of {datatype}: {error}", field=name) from None
    if any(side < 0 for side in shape) or math.prod(shape) != flat.size:
        raise InvalidInput(f"{name} has {flat.size} values, which do not fill {list(shape)}", field=name)
    try:
        return flat.reshape(tuple(shape))
    except ValueError:  # without values the other sides may be of any length, but not of every
        raise InvalidInput(f"{name} cannot have the shape {list(shape)}", field=name) from None


def _tensor(value: Any) -> Tensor:
    kind = _ORT_TYPES[value.type.removeprefix("tensor(").removesuffix(")")]
    return Tensor(value.name, kind, tuple(side if isinstance(side, int) else -1 for side in value.shape))
