"""The int8 variant of a real bundle: made, measured on real video against the bundle's own answer, kept or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.server.test_decode import rewritten

from synpose.calibration import read_calibration
from synpose.errors import InvalidInput, NotFound
from synpose.options import Options
from synpose.skeleton import BODY27
from synpose_model.bundle import BUNDLES, Bundle
from synpose_model.quantise import quantise_spatial
from synpose_server.engine import Engine
from synpose_server.quantise import Quantised, quantise
from synpose_server.rendered_clip import RenderedClip
from synpose_server.settings import Settings

EXAMPLE = Path(__file__).parents[2] / "examples" / "balancing"
FRAMES = 12
SETTINGS = Settings()


def _short(path: Path, folder: Path) -> Path:
    """The first frames of the video `path`, its packets unchanged."""
    out = folder / path.name
    out.write_bytes(rewritten(path.read_bytes(), "mp4", lambda k: k < FRAMES))
    return out


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> RenderedClip:
    """The example's first frames as `fast` sees them: its own answer stands for the truth, so its error is 0."""
    folder = tmp_path_factory.mktemp("videos")
    videos = {path.stem: _short(path, folder) for path in sorted(EXAMPLE.glob("cam*.mp4"))}
    rig = read_calibration(EXAMPLE / "Calib.qca.txt").subset(list(videos))
    engine = Engine(SETTINGS, only="fast")
    with engine.estimate(rig, videos, Options(model="fast", skeleton=BODY27.name)) as estimation:
        joints = np.stack([frame.people[0].joints for frame in estimation])
        rig = estimation.rig
    seen = np.full((len(rig), *joints.shape[:2]), 2, np.uint8)
    return RenderedClip("balancing", rig, videos, joints, seen, 30.0, "balancing", False)


def test_a_variant_in_int8_answers_nearly_the_same_and_is_kept(clip: RenderedClip, tmp_path: Path) -> None:
    """It is a bundle that serves; of its spatial graph only the backbone, most of the convolutions, is int8."""
    most = 6.0  # mm, a third of what `fast` errs with four cameras
    told = quantise("fast", tmp_path / "fast-int8", [clip, clip], SETTINGS, most)
    assert told.before == pytest.approx((0,), abs=1e-6)
    assert 0 < told.cost < most
    assert told.time > 0
    bundle = Bundle.read(tmp_path / "fast-int8")
    bundle.verify()
    assert bundle.name == "fast-int8"
    assert bundle.provenance["int8"]["bundle"] == "fast"
    assert bundle.metrics["cost_mm"] == pytest.approx(told.after[0], abs=0.01)
    fast = Bundle.read(BUNDLES / "fast")
    changed = {"description", "provenance", "metrics"}
    assert {k: v for k, v in bundle.fields().items() if k not in changed} == {
        k: v for k, v in fast.fields().items() if k not in changed
    }
    nodes = onnx.load(str(bundle.graphs["spatial"])).graph.node
    weighed = [node for node in nodes if node.op_type == "Conv"]
    made_float = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    in_int8 = [node for node in weighed if set(node.input) <= made_float]
    assert 0.5 * len(weighed) < len(in_int8) < len(weighed)


def test_a_variant_that_costs_too_much_is_not_kept(clip: RenderedClip, tmp_path: Path) -> None:
    told = quantise("fast", tmp_path / "fast-int8", [clip, clip], SETTINGS, most=0.0)
    assert told.cost > 0
    assert not (tmp_path / "fast-int8").exists()


def test_what_cannot_be_quantised_is_told(clip: RenderedClip, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="two clips"):
        quantise("fast", tmp_path / "new", [clip], SETTINGS)
    nowhere = replace(clip, joints=np.full_like(clip.joints, np.nan))
    with pytest.raises(InvalidInput, match="nobody is in view"):
        quantise("fast", tmp_path / "new", [nowhere, clip], SETTINGS)
    with pytest.raises(InvalidInput, match="no new folder"):
        quantise("fast", tmp_path, [clip, clip], SETTINGS)
    with pytest.raises(InvalidInput, match="no new folder"):
        quantise("fast", tmp_path / "fast", [clip, clip], SETTINGS)
    with pytest.raises(NotFound, match="no model"):
        quantise("slow", tmp_path / "new", [clip, clip], SETTINGS)
    with pytest.raises(InvalidInput, match="no backbone"):
        quantise_spatial(BUNDLES / "fast" / "relation.onnx", tmp_path / "out.onnx", np.zeros((1, 8, 8, 3), np.uint8))


def test_the_cost_is_that_of_the_mean_or_of_the_median_clip() -> None:
    assert Quantised((10, 10, 90), (12, 12, 30), 0.5).cost == pytest.approx(2)
    assert Quantised((10, 10, 10), (10, 10, 13), 0.5).cost == pytest.approx(1)
