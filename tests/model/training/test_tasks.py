"""The tasks `rays`, `sightings` and `spatial` on tiny data: finite, and a function of seed and step alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tests.model.test_lifting import person

from synpose.calibration import write_calibration
from synpose.cli import main
from synpose.errors import InvalidInput
from synpose.rig import Camera, Rig
from synpose_model.data.errors import Errors
from synpose_model.data.poses import save_poses
from synpose_model.data.sightings import Sighting, save_sightings
from synpose_model.relation import RelationConfig
from synpose_model.spatial import SpatialConfig
from synpose_model.training.rays import RaysConfig, RaysTask
from synpose_model.training.sightings import SightingsTask
from synpose_model.training.spatial import SpatialTask, SpatialTaskConfig
from synpose_model.training.task import Task

TRAINING = Path(__file__).parents[3] / "examples" / "training"
RAYS = RaysConfig(network=RelationConfig(dim=16, depth=2, heads=2, window=4, smoothing=2), batch=2)
SPATIAL = SpatialTaskConfig(
    network=SpatialConfig(embedding="lightning", side=192, patch=12, dims=(16,), depths=(1,), heads=(2,), window=2),
    batch=2,
)

SIGHTINGS = replace(RAYS, network=replace(RAYS.network, token=5))
PIXELS = replace(SPATIAL, network=replace(SPATIAL.network, embedding="patches", side=32, patch=8))

EXPECTS = replace(SPATIAL, network=replace(SPATIAL.network, expects=True))
REPLAYS = replace(EXPECTS, batch=4, served=0.5, replayed=1.0)
TOLD = np.float32(0.25)  # where a server expected all joints

RIG = Rig(
    tuple(Camera(name, (64, 48), np.diag((50.0, 50, 1)), np.eye(3), (x, 0, 4)) for x, name in enumerate(("a", "b")))
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a little of everything that `--data` must hold."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split in ("train", "validation"):
        still = person(rng).numpy()[0]
        save_poses(folder / f"poses_{split}.npz", [still + 0.01 * np.arange(60)[:, None, None] for _ in range(2)])
        tracks = rng.normal(0, 0.01, (8, 48, 27, 2)).astype(np.float16)
        flags = rng.random(tracks.shape[:-1]) < 0.05
        scores = rng.uniform(0.2, 0.9, flags.shape).astype(np.float16)
        Errors(tracks, flags, scores, rng.uniform(-3, 3, 8).astype(np.float32)).save(folder / f"errors_{split}.npz")
    for name, frames in (("stills", 3), ("val_stills", 3), ("served", 20)):
        clip, count = folder / name / "clip", 2 * frames
        clip.mkdir(parents=True)
        jpeg = cv2.imencode(".jpg", rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))[1]
        np.savez(clip / "crops.npz", data=np.tile(jpeg, count), starts=len(jpeg) * np.arange(count + 1))
        np.save(clip / "lightning.npy", rng.random((count, 41, 48, 48)).astype(np.float16))
        expected: dict[str, Any] = {
            "expected": np.full((frames, 2, 27, 2), TOLD),
            "ahead": rng.normal(0, 0.3, (frames, 27, 3)),
        }
        np.savez(
            clip / "labels.npz",
            pixels=rng.uniform(0.1, 0.9, (frames, 2, 27, 2)).astype(np.float32),
            visibility=rng.integers(0, 3, (frames, 2, 27)).astype(np.uint8),
            transforms=np.broadcast_to(((64.0, 0, 0), (0, 48.0, 0)), (frames, 2, 2, 3)),
            joints=rng.normal(0, 0.3, (frames, 27, 3)),
            rig=write_calibration(RIG),
            fps=30.0,
            motion="none",
            keypoints_lightning=rng.random((frames, 2, 17, 3)).astype(np.float32),
            keypoints_thunder=rng.random((frames, 2, 17, 3)).astype(np.float32),
            **expected if name == "served" else {},
        )
    for split in ("train", "validation"):
        joints = np.broadcast_to(person(rng).numpy()[0], (8, 27, 3)).astype(np.float32)
        angle = np.arange(6)
        origins = np.stack((4 * np.cos(angle), 4 * np.sin(angle), np.ones(6)), -1).astype(np.float32)
        rays = joints[:, None] - origins[:, None]
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        said = Sighting(origins, rays, np.full((8, 6, 27), 0.5, np.float32), np.ones((8, 6, 5), np.float32), joints)
        save_sightings(folder / f"sightings_{split}.npz", [said])
    return folder


def losses(task: Task, seed: int) -> list[float]:
    """Of three steps of AdamW."""
    torch.manual_seed(seed)
    network = task.build().train()
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-3)
    out = []
    for step in range(3):
        loss, numbers = task.loss(network, task.batch(step, 0, np.random.default_rng((seed, step, 0))))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        grads = [p.grad for p in network.parameters() if p.grad is not None]
        assert grads
        assert all(grad.isfinite().all() for grad in grads)
        assert all(torch.as_tensor(number).isfinite() for number in numbers.values())
        optimizer.step()
        out.append(float(loss.detach()))
    return out


@pytest.mark.parametrize(
    "name", ["rays", "sightings", "spatial", "spatial that expects", "served", "spatial from pixels"]
)
def test_losses_are_finite_and_a_function_of_seed_and_step(name: str, data: Path) -> None:
    """Three steps repeat to the last digit, whatever was drawn before; another seed gives others."""

    def task() -> Task:
        tasks: dict[str, Task] = {
            "rays": RaysTask(RAYS, data),
            "sightings": SightingsTask(SIGHTINGS, data),
            "spatial": SpatialTask(SPATIAL, data),
            "spatial that expects": SpatialTask(EXPECTS, data),
            "served": SpatialTask(REPLAYS, data),
            "spatial from pixels": SpatialTask(PIXELS, data),
        }
        return tasks[name]

    once, again, other = losses(task(), 0), losses(task(), 0), losses(task(), 1)
    assert np.isfinite(once).all()
    assert once == again
    assert once != other
    late = task().batch(2, 0, np.random.default_rng((0, 2, 0)))
    alone = task()
    for step in (0, 1):
        alone.batch(step, 0, np.random.default_rng((0, step, 0)))
    for key, value in alone.batch(2, 0, np.random.default_rng((0, 2, 0))).items():
        torch.testing.assert_close(value, late[key], atol=0, rtol=0, equal_nan=True)


def test_what_a_server_expected_is_told(data: Path) -> None:
    """The last half of a batch is told what was recorded, the first with errors that were; no other task needs them."""
    batch = SpatialTask(REPLAYS, data).batch(0, 0, np.random.default_rng(1))
    told = batch["expected"].numpy()
    assert (told[2:] == TOLD).all()
    assert (told[:2] != TOLD).all()
    made_up = SpatialTask(replace(REPLAYS, served=0.0, replayed=0.0), data).batch(0, 0, np.random.default_rng(1))
    assert len(made_up["maps"]) == len(batch["maps"]) == 4
    assert not np.isin(TOLD, made_up["expected"].numpy())


def test_networks_that_read_tokens_are_validated_beside_triangulation(data: Path) -> None:
    """Validation of a token network has its error and that of the rays alone."""
    task = SightingsTask(SIGHTINGS, data)
    with torch.inference_mode():
        numbers = task.validate(task.build().eval())
    assert numbers["robust_4"] < 1  # the recorded rays are exact
    assert np.isfinite(numbers["mm_4"])


def test_without_data_the_task_says_what_it_needs() -> None:
    """A folder that was not given is asked for by name."""
    for task in (RaysTask(RAYS, None), SightingsTask(SIGHTINGS, None), SpatialTask(SPATIAL, None)):
        with pytest.raises(InvalidInput, match="--data"):
            task.batch(0, 0, np.random.default_rng(0))


def test_a_relation_network_is_compared_with_triangulation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each number of cameras. The errors in the repository are another spatial network's, so no bar here."""
    out = tmp_path / "rays.json"
    weights = TRAINING / "weights" / "rays.pt"
    assert main(["evaluate", "rays", str(weights), "--data", str(TRAINING), "--json", str(out)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["cameras", "1", "2", "3", "4", "6"]
    measured = json.loads(out.read_text())
    assert rows[4][1:3] == [f"{measured['mm_4']:.1f}", f"{measured['robust_4']:.1f}"]
    assert main(["evaluate", "rays", str(tmp_path / "none.pt"), "--data", str(TRAINING)]) == 2
    assert main(["evaluate", "rays", str(weights), "--data", str(tmp_path / "none")]) == 2
