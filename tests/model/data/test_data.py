"""What the networks are trained on: recorded errors, poses, random rigs, splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from synpose.errors import InvalidInput
from synpose_model.data import rigs
from synpose_model.data.errors import MIRROR, Errors, azimuth, collect, read_errors
from synpose_model.data.poses import Poses
from synpose_model.data.rigs import simulate
from synpose_model.data.splits import SPLITS, motions_of

FRAMES = 48


def errors(off: tuple[float, float] = (0.0, 0.0), joint: int | None = None, azimuths: int = 12) -> Errors:
    """Tracks that are always `off`, all joints or one."""
    where = np.zeros((azimuths, FRAMES, 27, 2), np.float16)
    where[:, :, slice(None) if joint is None else joint] = off
    flags = np.zeros(where.shape[:-1], bool)
    around = np.linspace(-np.pi, np.pi, azimuths, endpoint=False).astype(np.float32)
    return Errors(where, flags, np.full(flags.shape, 0.8, np.float16), around)


def people(count: int, times: int) -> NDArray[np.float64]:
    """Joints `(count, times, 27, 3)` with all limbs apart, facing −y, left at +x."""
    rng = np.random.default_rng(0)
    joints = rng.uniform(-0.2, 0.2, (27, 3)) + (0, 0, 1)
    joints[[5, 11], 0], joints[[6, 12], 0] = 0.2, -0.2
    joints[[5, 6], 2], joints[[11, 12], 2] = 1.5, 0.9
    return np.broadcast_to(joints, (count, times, 27, 3)).copy()


class _Exact:
    """A generator whose calibrations never err: `simulate` draws that chance alone with three axes of length one."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def __getattr__(self, name: str) -> object:
        return getattr(self._rng, name)

    def random(self, shape: Any = None) -> object:
        drawn = self._rng.random(shape)
        return np.ones_like(drawn) if isinstance(shape, tuple) and shape[1:] == (1, 1) else drawn


def exact(count: int, times: int, views: int, found: Errors, hard: float = 0.0) -> rigs.Rays:
    rng: np.random.Generator = _Exact(3)  # type: ignore[assignment]
    return simulate(rng, people(count, times), views, found, np.ones(count), hard)


def test_without_errors_rays_pass_through_the_joints() -> None:
    """With nothing wrong, every ray of every view meets its joint, and every view is there."""
    rays = exact(4, 5, 3, errors())
    to = rays.joints[:, :, None] - rays.origins[..., None, :]
    across = np.linalg.norm(np.cross(to, rays.directions), axis=-1)
    assert across.max() < 1e-6
    assert ((to * rays.directions).sum(-1) > 0).all()
    assert rays.mask.all()
    np.testing.assert_allclose(rays.scores, 0.8, atol=1e-3)
    assert not rays.swapped.any()


def test_exchanged_sides_are_told_and_last() -> None:
    """Where keypoints are said to be exchanged, their rays pass through the joints of the other side, for a while."""
    rays = exact(60, 8, 3, errors(), hard=1.0)
    assert 0.02 < rays.swapped[..., :17].mean() < 0.2
    lateral = np.arange(27) != MIRROR
    assert not rays.swapped[..., ~lateral].any()
    offset = rays.joints[:, :, None, MIRROR] - rays.origins[..., None, :]
    along = (offset * rays.directions).sum(-1, keepdims=True)
    away = np.linalg.norm(offset - along * rays.directions, axis=-1)
    assert np.median(away[rays.swapped]) < 1e-6
    changes = (rays.swapped[:, 1:] != rays.swapped[:, :-1]).mean()
    assert changes < 0.6 * rays.swapped.mean()  # independent flags would change almost twice as often as they are set


def test_calibrations_err_even_when_nothing_else_does() -> None:
    """`hard` 0 leaves the errors of calibrations in, of centimetres at most: no rig is exact."""
    rays = simulate(np.random.default_rng(0), people(64, 2), 3, errors(), np.ones(64), 0.0)
    to = rays.joints[:, :, None] - rays.origins[..., None, :]
    across = np.linalg.norm(np.cross(to, rays.directions), axis=-1).max((1, 2, 3))
    assert 0.2 < (across < 1e-6).mean() < 0.6
    assert 0.01 < across.max() < 0.4


def test_rays_are_a_function_of_the_generator() -> None:
    """The same seed gives the same rays, another gives others; something is missing when things go wrong."""
    found, joints = errors((0.01, 0.0)), people(32, 8)
    one, same, other = (simulate(np.random.default_rng(s), joints, 3, found, np.ones(32), 1.0) for s in (1, 1, 2))
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.directions, other.directions)
    assert one.mask.any(-1).all()
    assert not one.mask.all()
    assert (one.scores[~one.mask] == 0).all()


def test_a_bias_to_the_right_is_replayed_to_the_right_in_the_crop() -> None:
    """Errors keep the axes of the crop: x is right in the image whichever way the camera looks."""
    rays, clean = exact(16, 3, 2, errors((0.02, 0.0))), exact(16, 3, 2, errors())
    forward = clean.directions[..., :17, :].mean(-2)
    right = np.cross(forward, (0, 0, 1.0))
    moved = rays.directions - clean.directions
    sideways = (moved * (right / np.linalg.norm(right, axis=-1, keepdims=True))[..., None, :]).sum(-1)
    # replayed mirrored, from the other side of the person, right has become left: one sign throughout a view
    assert (np.sign(sideways) == np.sign(sideways[:, :1, :, :1])).all()
    assert {-1.0, 1.0} == set(np.sign(sideways).ravel())
    assert np.abs(moved[..., 2]).max() < 0.5 * np.abs(sideways).max()


def test_replay_takes_tracks_as_they_are_or_mirrored() -> None:
    """A track of the left wrist is of the left wrist; mirrored it is of the right one, turned about."""
    found = errors((0.25, 0.5), joint=9)
    off, swapped, score = found.replay(np.random.default_rng(0), np.zeros(64), 10, np.ones(64))
    assert off.shape == (64, 10, 27, 2)
    assert swapped.shape == score.shape == (64, 10, 27)
    for view in off:
        as_it_is = view[0, 9, 0] != 0
        expected = np.zeros((10, 27, 2))
        expected[:, 9 if as_it_is else 10] = (0.25, 0.5) if as_it_is else (-0.25, 0.5)
        np.testing.assert_allclose(view, expected)
    assert 10 < (off[:, 0, 9, 0] != 0).sum() < 54


def test_replay_takes_cameras_that_stood_about_there() -> None:
    """Errors seen from before a person are not replayed from behind; a window longer than a track is slowed down."""
    found = errors(azimuths=36)
    found.score[:] = np.abs(found.azimuth)[:, None, None] / np.pi
    _, _, score = found.replay(np.random.default_rng(0), np.zeros(100), 2 * FRAMES, np.full(100, 2.0))
    assert score.max() < 0.25
    assert score.shape == (100, 2 * FRAMES, 27)


def test_collected_errors_are_those_that_were_made() -> None:
    """What keypoints are off is what is kept; left taken for right is told apart from being far off."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.2, 0.8, (FRAMES, 2, 27, 2)).astype(np.float32)
    truth[..., 9, :], truth[..., 10, :] = (0.2, 0.5), (0.8, 0.5)
    found = np.concatenate((truth + (0.0, 0.0625), np.full((FRAMES, 2, 27, 1), 0.5)), -1).astype(np.float32)
    found[:, 0, [9, 10]] = found[:, 0, [10, 9]]
    turns = np.broadcast_to((0.5, -1.0), (FRAMES, 2))
    kept = collect([found], [truth], [turns])
    assert kept.off.shape == (2, FRAMES, 27, 2)
    assert kept.swapped[0, :, 9:11].all()
    assert not kept.swapped[1, :, 9:11].any()
    np.testing.assert_allclose(kept.off[:, :, 9:11], np.broadcast_to((0, 0.0625), (2, FRAMES, 2, 2)), atol=1e-3)
    np.testing.assert_allclose(kept.azimuth, (0.5, -1.0), atol=1e-6)
    coco = collect([found[:, :, :17]], [truth], [turns])
    assert (coco.score[..., 17:] == 0).all()
    np.testing.assert_array_equal(coco.off[:, :, :17], kept.off[:, :, :17])


def test_errors_are_read_as_they_were_written(tmp_path: Path) -> None:
    """The file holds everything; what is no such file is refused by name."""
    kept = errors((0.01, 0.02))
    kept.save(tmp_path / "errors.npz")
    read = read_errors(tmp_path / "errors.npz")
    for name in ("off", "swapped", "score", "azimuth"):
        np.testing.assert_array_equal(getattr(read, name), getattr(kept, name))
    assert "12 tracks of 48 frames" in read.summary()
    np.savez(tmp_path / "other.npz", off=kept.off)
    for name in ("other.npz", "none.npz"):
        with pytest.raises(InvalidInput, match=name):
            read_errors(tmp_path / name)


def test_azimuth_is_nought_in_front_and_a_quarter_turn_on_the_left() -> None:
    """Somebody who looks along −y has their left at +x."""
    joints = people(1, 1)[0]
    middle = joints[0, 11:13].mean(0)
    eyes = middle + np.array([(0, -3, 1), (3, 0, 0), (0, 3, -1), (-3, 0, 2)])
    angles = azimuth(joints[0], eyes)
    np.testing.assert_allclose(np.abs(angles), (0, np.pi / 2, np.pi, np.pi / 2), atol=0.15)
    assert angles[1] > 0 > angles[3]
    assert MIRROR[9] == 10


def line(frames: int) -> Poses:
    """Two sequences whose joints say which frame it is: x = frame², y = frame, z = sequence."""
    at = np.arange(frames, dtype=np.float32)
    parts = [np.stack((at**2, at, np.full_like(at, i)), -1)[:, None].repeat(27, 1) for i in range(2)]
    return Poses(np.concatenate(parts), np.array((0, frames, 2 * frames)))


def test_windows_stay_in_one_sequence_and_keep_its_pace() -> None:
    """A window's instants are `step` frames apart, of one sequence, and within it."""
    step = np.linspace(0.3, 2.0, 50)
    windows = line(60).windows(np.random.default_rng(0), 50, 10, step)
    assert windows.shape == (50, 10, 27, 3)
    assert (windows[..., 2] == windows[:, :1, :, 2]).all()
    # a sequence's first and last frame have no neighbour beyond: there, and only there, the pace is not quite it
    np.testing.assert_allclose(np.diff(windows[..., 0, 1], axis=1), np.repeat(step[:, None], 9, 1), atol=0.1)
    assert windows[..., 1].min() >= 0
    assert windows[..., 1].max() < 59
    assert set(windows[:, 0, 0, 2]) == {0.0, 1.0}


def test_splines_are_exact_on_frames_and_on_parabolas() -> None:
    """Between frames a smooth motion stays one: away from the ends, a parabola comes back to float32."""
    windows = line(60).windows(np.random.default_rng(1), 200, 4, np.full(200, 0.25))
    at, square = windows[:, :, 0, 1].astype(np.float64), windows[:, :, 0, 0]
    inside = (at > 1) & (at < 58)
    np.testing.assert_allclose(square[inside], at[inside] ** 2, atol=2e-3)
    assert np.abs(square - at**2).max() < 1.0


def test_a_sequence_too_short_for_a_window_is_slowed_down() -> None:
    """Windows never run over the end."""
    windows = line(8).windows(np.random.default_rng(0), 20, 16, np.full(20, 3.0))
    assert windows[..., 1].max() < 7
    assert (np.diff(windows[..., 0, 1], axis=1) < 0.6).all()


def test_splits_share_no_subject(tmp_path: Path) -> None:
    """Whoever is measured on is never trained on, whichever trial."""
    for subject in ("01", "02", "03", "08", "10", "12", "35", "someone"):
        for trial in ("01", "02"):
            (tmp_path / subject).mkdir(exist_ok=True)
            (tmp_path / subject / f"{subject}_{trial}.bvh").touch()
    subjects = {split: {path.stem.split("_")[0] for path in motions_of(tmp_path, split)} for split in SPLITS}
    assert subjects == {"train": {"02", "35", "someone"}, "validation": {"01", "08"}, "test": {"03", "10", "12"}}
    with pytest.raises(InvalidInput, match=r"no \.bvh file for train"):
        motions_of(tmp_path / "01", "train")
