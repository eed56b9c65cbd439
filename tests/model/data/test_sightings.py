"""What a spatial network said of sequences: kept as it was, drawn in windows of one clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from synpose.errors import InvalidInput
from synpose.skeleton import BODY27
from synpose_model.data.sightings import SERVED, Sighting, draw_windows, read_sightings, save_sightings
from synpose_model.training.rays import RaysConfig, RaysTask


def sighting(frames: int, views: int) -> Sighting:
    """A clip whose scores say view and whose joints say frame; every origin is its view's number."""
    view, frame = np.arange(views, dtype=np.float32), np.arange(frames, dtype=np.float32)
    return Sighting(
        np.repeat(view[:, None], 3, 1),
        np.broadcast_to(frame[:, None, None, None], (frames, views, 27, 3)).copy(),
        np.broadcast_to(view[:, None], (frames, views, 27)).copy(),
        np.broadcast_to(view[:, None], (frames, views, 4)).copy(),
        np.broadcast_to(frame[:, None, None], (frames, 27, 3)).copy(),
    )


def test_sightings_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Clips of different sizes keep their order and their numbers."""
    written = [sighting(5, 2), sighting(7, 3)]
    save_sightings(tmp_path / "s.npz", written)
    for before, after in zip(written, read_sightings(tmp_path / "s.npz"), strict=True):
        for name, value in vars(before).items():
            np.testing.assert_array_equal(getattr(after, name), value)


def test_no_file_is_told_with_the_command_that_makes_it(tmp_path: Path) -> None:
    """Whoever has no sightings yet is told how to get them."""
    with pytest.raises(InvalidInput, match="synpose render sightings"):
        read_sightings(tmp_path / "none.npz")


def test_windows_are_successive_frames_of_views_that_belong_together() -> None:
    """Rays, scores, tokens and origins of a view stay one view's, joints those of its frames."""
    windows = draw_windows(np.random.default_rng(0), [sighting(9, 2), sighting(9, 4)], 20, 5, 3)
    assert windows.scores.shape == (20, 5, 3, 27)
    assert (windows.origins[..., 0] == windows.scores[..., 0]).all()
    assert (windows.tokens[..., 0] == windows.scores[..., 0]).all()
    assert (np.diff(windows.joints[..., 0, 0], axis=1) == 1).all()
    assert (windows.directions[:, :, 0, 0, 0] == windows.joints[:, :, 0, 0]).all()
    assert all(len(set(views)) == 3 for views in windows.scores[:, 0, :, 0])


def test_more_cameras_than_any_clip_has_is_an_error() -> None:
    """What cannot be drawn is said, and why."""
    with pytest.raises(InvalidInput, match="7 cameras"):
        draw_windows(np.random.default_rng(0), [sighting(9, 2)], 1, 5, 7)


def test_recorded_windows_tell_what_is_exchanged(tmp_path: Path) -> None:
    """`rays` may draw its batches from recordings: mirrored and turned round they agree with themselves."""
    rng = np.random.default_rng(0)
    joints = (rng.normal(0, 0.4, (20, 27, 3)) + (0, 0, 1)).astype(np.float32)
    angles = np.arange(6) * np.pi / 3
    origins = np.stack((3 * np.cos(angles), 3 * np.sin(angles), 1 + 0.1 * angles), -1).astype(np.float32)
    seen = np.stack((*[joints] * 5, joints[:, BODY27.mirror]), 1)  # the last camera takes left for right
    to = seen - origins[:, None]
    directions = to / np.linalg.norm(to, axis=-1, keepdims=True)
    one = Sighting(origins, directions, np.ones((20, 6, 27), np.float32), np.zeros((20, 6, 0), np.float32), joints)
    save_sightings(tmp_path / "sightings_train.npz", [one])
    task = RaysTask(RaysConfig(recorded=1.0), tmp_path)
    for step in range(8):
        batch = task.batch(step, 0, np.random.default_rng(step))
        seen_from = batch["joints"][:, :, None] - batch["origins"][..., None, :]
        off = torch.linalg.cross(seen_from, batch["directions"]).norm(dim=-1)[..., [0, 18]]  # joints without a side
        assert off.max() < 1e-5
        exchanged = batch["exchanged"].mean((1, 3))  # (B, V)
        assert ((exchanged < 0.01) | (exchanged > 0.5)).all()
        assert 0.05 < (exchanged > 0.5).float().mean() < 0.35  # of six, the last


def test_what_a_server_saw_is_drawn_as_well(tmp_path: Path) -> None:
    """`sightings_served.npz` beside the others, where it is there."""
    save_sightings(tmp_path / "sightings_train.npz", [sighting(20, 2)])
    task = RaysTask(RaysConfig(recorded=1.0), tmp_path)
    assert len(task._recorded) == 1
    save_sightings(tmp_path / SERVED, [sighting(20, 3), sighting(9, 4)])
    assert [len(one.origins) for one in RaysTask(RaysConfig(recorded=1.0), tmp_path)._recorded] == [2, 3, 4]
