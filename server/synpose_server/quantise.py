"""A bundle's int8 variant, and what it costs and gains: made on some rendered clips and measured on the others."""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from synpose.errors import InvalidInput
from synpose.skeleton import COCO17
from synpose_model.bundle import Bundle, placed, write_manifest
from synpose_model.crop import IN_VIEW, nowhere
from synpose_model.data.photograph import jittered_crop
from synpose_model.quantise import quantise_spatial
from synpose_server.decode import open_source
from synpose_server.engine import Engine
from synpose_server.evaluate_rendered import LIMBS, evaluate_rendered, measure
from synpose_server.rendered_clip import RenderedClip
from synpose_server.runtime import Graph
from synpose_server.settings import Settings

__all__ = ["Quantised", "quantise"]

_EVERY = 10  # frames of a video between two crops that ranges are measured on
_MOST = 96  # crops in all
_ROUNDS = 5
_BATCH = 4


@dataclass(frozen=True)
class Quantised:
    """What an int8 variant costs and gains.

    `before` and `after` are errors over the limb joints of each clip it was not made on, mm; `time` is the CPU time of
    its spatial graph as a share of the float32 one's, on this machine.
    """

    before: tuple[float, ...]
    after: tuple[float, ...]
    time: float

    @property
    def cost(self) -> float:
        """Millimetres of error more: in the mean or in the median clip, whichever is more.

        One clip in which left and right are exchanged, by one of them and not by the other, outweighs all others in a
        mean.
        """
        more = np.subtract(self.after, self.before)
        return float(max(more.mean(), np.median(more)))


def quantise(
    name: str,
    folder: Path,
    clips: Sequence[RenderedClip],
    settings: Settings,
    most: float = 1.0,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Quantised:
    """Make the bundle `folder`, the model `name` with its spatial graph in int8; keep it if it costs at most `most` mm.

    Ranges of activations are those on every second of `clips`; the others are estimated with both bundles. `progress`
    is told what is done, how much, and of how much. Raises `NotFound` for a model that is not there, `InvalidInput` for
    a folder that is there already, for fewer than two clips, for clips without anybody and for graphs that cannot be
    quantised.
    """
    alone = [clip for clip in clips if not clip.others]
    if len(alone) < 2:
        raise InvalidInput("two clips of one person are the least: one to make it, one to measure it", field="clips")
    engine = Engine(settings, only=name)
    bundle = engine.model(name).bundle
    if folder.exists() or folder.name in ("default", bundle.name):
        raise InvalidInput(f"{folder} is no new folder with a name of its own", field="folder")
    progress("quantising", 0, 1)
    seen = [*_crops(alone[::2], bundle.crop_size, settings.max_pixels)]
    if not seen:
        raise InvalidInput("nobody is in view in the clips that would tell the ranges", field="clips")
    crops = np.stack(seen)
    crops = crops[np.linspace(0, len(crops) - 1, min(_MOST, len(crops))).astype(int)]
    with tempfile.TemporaryDirectory() as place:
        trial = Path(place) / folder.name
        trial.mkdir()
        (trial.parent / "repository.json").write_text(json.dumps({"default": trial.name}))
        quantise_spatial(bundle.graphs["spatial"], trial / "spatial.onnx", crops)
        variant = _write(bundle, trial, len(crops))
        apart = settings.model_copy(update={"models": trial.parent})
        engines = {bundle.name: engine, variant.name: Engine(apart, only=variant.name)}
        report = evaluate_rendered(engines, alone[1::2], {}, {}, progress=progress)
        before, after = (
            tuple(measure([case], LIMBS).mpjpe for case in report.cases if case.method == model) for model in engines
        )
        told = Quantised(before, after, _time(variant.graphs["spatial"], bundle.graphs["spatial"], crops))
        if told.cost <= most:
            folder.mkdir(parents=True)
            shutil.copy(variant.graphs["spatial"], folder)
            _write(bundle, folder, len(crops), {"cost_mm": round(told.cost, 2)})
    return told


def _crops(clips: Sequence[RenderedClip], side: int, max_pixels: int) -> Iterator[NDArray[np.uint8]]:
    """Crops of every tenth image around the person in it, placed as a tracker's prediction would be."""
    rng = np.random.default_rng(0)
    for clip in clips:
        for camera in clip.rig:
            points = camera.project(clip.joints[:, : len(COCO17)])
            with closing(open_source(camera.name, clip.videos[camera.name], max_pixels)) as reader:
                for index, image in enumerate(reader):
                    if index % _EVERY == 0 and image is not None and np.isfinite(points[index]).all():
                        crop = jittered_crop(rng, points[index], side)
                        if crop.overlap(image.size) >= IN_VIEW:
                            yield crop.read(image)


def _time(graph: Path, other: Path, crops: NDArray[np.uint8]) -> float:
    """Median over rounds of the CPU time that `graph` takes for `crops` as a share of that of `other`."""
    batches = np.split(crops, range(_BATCH, len(crops), _BATCH))

    def seconds(graph: Graph) -> float:
        started = time.process_time()
        for batch in batches:
            told = {"expected": nowhere(batch, graph.inputs["expected"][1])} if "expected" in graph.inputs else {}
            graph.run({"images": batch, **told})
        return time.process_time() - started

    one, two = Graph(graph), Graph(other)
    for warmed in (one, two):
        seconds(warmed)
    return statistics.median(seconds(one) / seconds(two) for _ in range(_ROUNDS))


def _write(bundle: Bundle, folder: Path, crops: int, metrics: Mapping[str, float] | None = None) -> Bundle:
    """The manifest of `bundle`'s variant in `folder`, where its spatial graph is already."""
    others = {kind: placed(path, folder) for kind, path in bundle.graphs.items() if kind != "spatial"}
    origin = {"bundle": bundle.name, "version": bundle.version, "crops": crops, "onnxruntime": ort.__version__}
    own = {"description": f"{bundle.description}; in int8, for CPUs", "metrics": metrics or {}}
    provenance = {**bundle.provenance, "int8": origin}
    graphs = {"spatial": folder / "spatial.onnx", **others}
    return write_manifest(folder, graphs=graphs, **{**bundle.fields(), **own, "provenance": provenance})
