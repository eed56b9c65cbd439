"""Learning-free ways from keypoints to joints, to compare with: our own and those of other people's programs.

All start from the same detections: the keypoints as a bundle's spatial graph said them, before left and right were
restored, with the lens undone. The programs of others run as published, by their own code with their own settings; they
are no dependencies of Synpose, and one that is not installed is told as such. `docs/accuracy.md` has the lines that
install them.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from synpose.errors import InvalidInput
from synpose.rig import Camera, Rig
from synpose.skeleton import Skeleton
from synpose_model.bundle import BUNDLES, Repository
from synpose_model.rays import intersect_rays
from synpose_server.runtime import Model

__all__ = ["BASELINES", "Baseline", "Detections", "chosen_baselines"]

Array = NDArray[np.float64]

ANIPOSE = {
    "scale_smooth": 2,
    "scale_length": 2,
    "scale_length_weak": 1,
    "reproj_error_threshold": 5,
    "n_deriv_smooth": 3,
}
"""The Anipose program's own settings; those of aniposelib's function are others and smooth far more."""
_ANIPOSE_SCORE = 0.3  # Anipose's own 0.8, with which MoveNet's keypoints gave larger errors on five of five clips


@dataclass(frozen=True, eq=False)
class Detections:
    """What a network said of one person: `keypoints` `(T, V, K, 3)`, image pixels and score, 0 where there is none."""

    rig: Rig
    skeleton: Skeleton
    keypoints: Array
    fps: float

    @property
    def scores(self) -> Array:
        """`(T, V, K)`, 0 where there is no keypoint or its lens has no inverse there."""
        return np.where(np.isfinite(self.plane).all(-1), self.keypoints[..., 2], 0.0)

    @cached_property
    def plane(self) -> Array:
        """The keypoints on each camera's normalised image plane, lens undone, `(T, V, K, 2)`."""
        views = [camera.undistort(self.keypoints[:, v, :, :2]) for v, camera in enumerate(self.rig)]
        return np.stack(views, 1)

    @property
    def directions(self) -> Array:
        """Unit rays of the keypoints in the world frame, `(T, V, K, 3)`; 0 where the score is."""
        rays = np.concatenate((self.plane, np.ones_like(self.plane[..., :1])), -1)
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        rays = np.stack([rays[:, v] @ camera.R for v, camera in enumerate(self.rig)], 1)
        return np.where(self.scores[..., None] > 0, rays, 0.0)

    @property
    def pixels(self) -> Array:
        """The keypoints in the pixels of cameras without distortion, `(T, V, K, 2)`, NaN where the score is 0."""
        pixels = np.stack([self.plane[:, v] @ c.K[:2, :2].T + c.K[:2, 2] for v, c in enumerate(self.rig)], 1)
        return np.where(self.scores[..., None] > 0, pixels, np.nan)

    def subset(self, cameras: tuple[str, ...]) -> Detections:
        """What the network said in the images of `cameras`."""
        rows = [self.rig.names.index(camera) for camera in cameras]
        return Detections(self.rig.subset(cameras), self.skeleton, self.keypoints[:, rows], self.fps)


@dataclass(frozen=True)
class Baseline:
    """`run` turns detections into joints `(T, K, 3)` in metres, NaN where unknown.

    `needs` are the modules that it imports, with the packages that bring them.
    """

    name: str
    description: str
    run: Callable[[Detections], Array] = field(repr=False)
    needs: Mapping[str, str] = field(default_factory=dict)

    def missing(self) -> str | None:
        """Why it cannot run here, or None."""
        for module, package in self.needs.items():
            try:
                with _quiet():
                    importlib.import_module(module)
            except ImportError as error:
                return f"not installed: {package} ({error})"
        return None


def chosen_baselines(names: tuple[str, ...] = ()) -> tuple[dict[str, Baseline], dict[str, str]]:
    """The baselines that can run, and why the others cannot; `names` are those asked for, none for all.

    Raises `InvalidInput` for an unknown name, and for one that was asked for by name and cannot run.
    """
    known = {baseline.name: baseline for baseline in BASELINES}
    runs, skipped = {}, {}
    for name in names or tuple(known):
        if name not in known:
            raise InvalidInput(f"no baseline {name!r}; there are {', '.join(known)}", field="baselines")
        reason = known[name].missing()
        if reason is None:
            runs[name] = known[name]
        elif names:
            raise InvalidInput(f"{name}: {reason}", field="baselines")
        else:
            skipped[name] = reason
    return runs, skipped


# -- our own -------------------------------------------------------------------------------------------------------


def plain(seen: Detections) -> Array:
    """The closed-form intersection of the rays, weighted by score."""
    origins = np.stack([camera.center for camera in seen.rig])
    return intersect_rays(origins, np.moveaxis(seen.directions, 1, 2), np.moveaxis(seen.scores, 1, 2))


def robust(seen: Detections) -> Array:
    """The relation graph of the bundle `accurate`, robust intersection, of one frame set at a time."""
    model = _accurate()
    T, V, K = seen.scores.shape
    size = len(model.skeleton)
    spare = -K % size  # the graph takes so many joints at once, each on its own
    rays = np.pad(seen.directions, ((0, 0), (0, 0), (0, spare), (0, 0))).reshape(T, V, -1, size, 3)
    scores = np.pad(seen.scores, ((0, 0), (0, 0), (0, spare))).reshape(T, V, -1, size)
    rays = np.moveaxis(rays, 2, 1).reshape(-1, 1, V, size, 3)
    scores = np.moveaxis(scores, 2, 1).reshape(-1, 1, V, size)
    origins = np.broadcast_to(np.stack([camera.center for camera in seen.rig]), (len(rays), 1, V, 3))
    joints, _, _ = model.relate(origins, rays, scores, np.ones((len(rays), 1, V), np.bool_))
    return joints.reshape(T, -1, 3)[:, :K]


@cache
def _accurate() -> Model:
    return Model(Repository(BUNDLES)["accurate"])


# -- Pose2Sim ------------------------------------------------------------------------------------------------------


def pose2sim(seen: Detections) -> Array:
    """Pose2Sim's triangulation, its gap filling, its outlier rejection and its Butterworth filter, as by default.

    It searches the subset of cameras whose reprojection error is below 15 px. Its skeleton is told to be ours, since
    its own for COCO leaves eyes and ears out.
    """
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        from Pose2Sim.common import read_trc
        from Pose2Sim.filtering import filter1d, hampel_filter
        from Pose2Sim.triangulation import triangulate_all

        project = Path(folder)
        config = _pose2sim_project(project, seen)
        joints = np.full((len(seen.keypoints), len(seen.skeleton), 3), np.nan)
        try:
            triangulate_all(config)
        except Exception as error:  # it raises nothing narrower when it finds nobody
            if "No persons have been triangulated" in str(error):
                return joints
            raise
        (file,) = (project / "pose-3d").glob("*.trc")
        found, frames, _, names, _ = read_trc(file)
        # not by `filter_all`, which is the same over files, but leaves the last frame out
        found.columns = range(found.shape[1])
        found = found.apply(hampel_filter, axis=0)
        found = found.apply(filter1d, axis=0, args=(config, "butterworth", round(seen.fps)))
    turned = found.to_numpy().reshape(len(found), len(names), 3)  # it turns y up: (y, z, x)
    turned = np.where((turned == 0).all(-1, keepdims=True), np.nan, turned)  # never found: it says 0
    order = [seen.skeleton.joints.index(name) for name in names]
    joints[np.ix_(frames.to_numpy().astype(int), order)] = turned[..., [2, 0, 1]]
    return joints


def _pose2sim_project(folder: Path, seen: Detections) -> dict[str, Any]:
    """A project folder as Pose2Sim reads it, from cameras without distortion; answers its configuration."""
    T, V, _ = seen.scores.shape
    (folder / "Config.toml").touch()
    (folder / "calibration").mkdir()
    lines = []
    for v, camera in enumerate(seen.rig):
        numbers = {
            "size": [float(side) for side in camera.size],
            "matrix": camera.K.tolist(),
            "distortions": [0.0] * 4,
            "rotation": cv2.Rodrigues(camera.R)[0].ravel().tolist(),
            "translation": camera.t.tolist(),
        }
        lines += [f"[cam{v:02d}]", f'name = "cam{v:02d}"', *(f"{key} = {value}" for key, value in numbers.items()), ""]
    (folder / "calibration" / "Calib.toml").write_text("\n".join(lines))
    keypoints = np.concatenate((seen.pixels, seen.scores[..., None]), -1)
    for v, t in itertools.product(range(V), range(T)):
        path = folder / "pose" / f"cam{v:02d}_json" / f"cam{v:02d}_{t:06d}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        people = [{"pose_keypoints_2d": keypoints[t, v].ravel().tolist()}] if seen.scores[t, v].any() else []
        path.write_text(json.dumps({"people": people}))
    joints = [{"name": name, "id": k} for k, name in enumerate(seen.skeleton.joints)]
    return {
        "project": {"project_dir": str(folder), "frame_rate": round(seen.fps)},
        "pose": {"pose_model": "as_given", "as_given": {"name": "body", "id": "None", "children": joints}},
        # every other setting has the value of its Config.toml where it is left out
        "triangulation": {"make_c3d": False},
    }


# -- aniposelib ----------------------------------------------------------------------------------------------------


def aniposelib(seen: Detections) -> Array:
    """aniposelib's optimisation of whole tracks over reprojection, smoothness and constant lengths of the eight limbs.

    With the settings of the Anipose program.
    """
    from aniposelib.cameras import Camera as Lens
    from aniposelib.cameras import CameraGroup

    def lens(camera: Camera) -> Any:
        rotation = cv2.Rodrigues(camera.R)[0].ravel()
        return Lens(camera.K, np.zeros(5), camera.size, rotation, camera.t, camera.name)

    group = CameraGroup([lens(camera) for camera in seen.rig])
    points = np.moveaxis(np.where(seen.scores[..., None] >= _ANIPOSE_SCORE, seen.pixels, np.nan), 1, 0)  # (V, T, K, 2)
    T, K = points.shape[1:3]
    joints = np.full((T, K, 3), np.nan)
    # a joint that two cameras see at the same time at most once has no track: it takes NaN to all others
    known = np.flatnonzero(((np.isfinite(points[..., 0]).sum(0) >= 2).sum(0)) > 1)
    if known.size:
        place = {int(k): i for i, k in enumerate(known)}
        limbs = [[place[a], place[b]] for a, b in seen.skeleton.limbs if a in place and b in place]
        with _quiet():
            joints[:, known] = group.triangulate_optim(points[:, :, known].copy(), constraints=limbs, **ANIPOSE)
    return joints


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the programs of others print, log and warn from mixing with our own; lets errors through."""
    level = logging.root.manager.disable
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(level)


BASELINES = (
    Baseline("plain", "closed-form ray intersection, weighted by score", plain),
    Baseline("robust", "robust ray intersection, as in `accurate`", robust),
    Baseline(
        "pose2sim",
        "Pose2Sim 0.10.49: triangulation and Butterworth filter, default settings",
        pose2sim,
        {"Pose2Sim.triangulation": "pose2sim==0.10.49", "Pose2Sim.filtering": "pose2sim==0.10.49"},
    ),
    Baseline(
        "aniposelib",
        "aniposelib 0.8.0: triangulate_optim, settings of Anipose",
        aniposelib,
        {"aniposelib": "aniposelib==0.8.0", "jax": "jax"},
    ),
)
