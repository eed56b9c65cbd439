"""One calibration: videos of a person in, cameras and a report of them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from synpose.calibrated import Calibrated, CalibrationReport
from synpose.calibration_options import CalibrationOptions
from synpose.errors import CalibrationError, InvalidInput, LimitExceeded
from synpose.rig import Camera, Rig
from synpose_model.image import Image
from synpose_server.calibrate.body import JOINTS
from synpose_server.calibrate.bundle_adjustment import Adjusted, Free
from synpose_server.calibrate.intrinsics import Board, board_camera, unknown_camera
from synpose_server.calibrate.keypoints2d import follow
from synpose_server.calibrate.offsets import find_clocks
from synpose_server.calibrate.report import camera_reports, refuse_astray, refuse_weak
from synpose_server.calibrate.structure import reconstruct
from synpose_server.calibrate.tracks import Tracks
from synpose_server.calibrate.world import to_world, upwards
from synpose_server.runtime import Model
from synpose_server.settings import Settings
from synpose_server.sources import Source
from synpose_server.synchronise import FrameSets

__all__ = ["CalibrationRequest", "calibrate", "calibrate_tracks"]

Array = NDArray[np.float64]

_MOST_FRAMES = 3600  # a minute at 60 a second; more of the same walk adds time, not accuracy
_LEAST_FRAMES = 20
_SHORT = 5.0  # seconds of film below which the covariance alone says too little
_STILL = 0.02  # spread of joints in the image, beside the person's extent, below which nobody moves
_FLAT = 0.04  # thickness of the motion beside its length, below which it lies in a plane


@dataclass(frozen=True)
class CalibrationRequest:
    """`sources` of the moving person by camera; `lenses` are cameras whose intrinsics are known, `boards` videos of the
    options' board, both by camera and for any of them.
    """

    sources: Mapping[str, Source]
    options: CalibrationOptions
    lenses: Mapping[str, Camera]
    boards: Mapping[str, Source]


def calibrate(
    model: Model,
    request: CalibrationRequest,
    settings: Settings,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Calibrated:
    """Calibrate the cameras of `request`; `progress` hears of each frame set, and may end it by raising.

    It is told how many were seen, and of how many where that is known; both are equal when all were seen and the
    cameras are computed.

    Raises `CalibrationError` with a reason where the motion or the options do not suffice, and as the decoding does.
    """
    _check(request, settings)
    board = Board.parse(request.options.board) if request.options.board else None
    lenses = dict(request.lenses)
    for name, source in request.boards.items():
        assert board is not None, name
        lenses[name] = board_camera(name, source, board, settings.max_pixels)
    frame_sets = FrameSets(request.sources, settings.max_pixels, request.options.fps)
    try:
        cameras = [
            lenses[reader.camera].resized(reader.size)
            if reader.camera in lenses
            else unknown_camera(reader.camera, reader.size)
            for reader in frame_sets.readers
        ]
        fps = frame_sets.fps
        keypoints = np.stack(list(follow(model, _images(frame_sets, progress))))
    finally:
        frame_sets.close()
    free = np.array([camera.name not in lenses for camera in cameras])
    return calibrate_tracks(keypoints, cameras, free, request.options, fps)


def calibrate_tracks(
    keypoints: Array, cameras: Sequence[Camera], free: NDArray[np.bool_], options: CalibrationOptions, fps: float
) -> Calibrated:
    """Calibrate `cameras` from `keypoints` `(N, V, K, 3)` of one person, x, y in pixels and score.

    K begins with COCO's joints. Of the cameras' places nothing is used; the lenses of those that are `free`
    `(V,)` are found. Raises as `calibrate`.
    """
    names = tuple(camera.name for camera in cameras)
    sides = np.array([max(camera.size) for camera in cameras], np.float64)
    focal = np.array([camera.K[0, 0] for camera in cameras]) / sides
    planes = [camera.undistort(keypoints[:, v, JOINTS, :2]) * focal[v] for v, camera in enumerate(cameras)]
    tracks = Tracks.of(np.concatenate((np.stack(planes, 1), keypoints[:, :, JOINTS, 2:]), -1))
    _refuse_unseen(tracks, names)
    most = round(options.max_offset * fps)
    clock = find_clocks(tracks, names, most) if most else np.zeros(len(names))
    moving = np.full(len(names), most > 0)
    adjusted = reconstruct(tracks, names, focal, clock, Free(free, free, moving, options.same_lens))
    _refuse_flat(adjusted.points)
    refuse_astray(adjusted, tracks, names)
    metres = _stature(adjusted, names, options)
    reports = camera_reports(adjusted, tracks, names, sides, metres)
    refuse_weak(reports)
    views, _ = to_world(adjusted.views, adjusted.points, _up(adjusted, names, options), metres)
    rig = Rig(
        tuple(
            _camera(camera, views.R[v], views.t[v], views.focal[v] * sides[v], views.radial[v])
            if free[v]
            else replace(camera, R=views.R[v], t=views.t[v])
            for v, camera in enumerate(cameras)
        )
    )
    notices = [_apart(report.name, report.offset, names[0]) for report in reports if abs(report.offset) >= 0.5]
    if (seconds := len(keypoints) / fps) < _SHORT:
        notices.append(
            f"{seconds:.1f} s of film are little, and cameras may be off by more than is said here: film 10 to 60 s of"
            " someone who walks about"
        )
    report = CalibrationReport(len(keypoints), len(adjusted.points), metres, reports, tuple(notices))
    return Calibrated(rig, report)


def _check(request: CalibrationRequest, settings: Settings) -> None:
    """Raise for a request that cannot be meant."""
    names, options = list(request.sources), request.options
    if len(names) < 2:
        raise InvalidInput("videos of at least two cameras are needed", field="video")
    if len(names) > settings.max_cameras:
        raise LimitExceeded(f"at most {settings.max_cameras} cameras are accepted", field="video")
    if request.boards and options.board is None:
        raise InvalidInput(
            "videos of a board need the option board, which says what board it is", field="options.board"
        )
    if options.board is not None and not request.boards:
        raise InvalidInput(
            "the option board says what board is filmed, but there is no video of it: --board-videos of the command,"
            " `boards` of the client, `board` of the form",
            field="board",
        )
    mentioned = [("board", name) for name in request.boards]
    mentioned += [("options.baseline", name) for name in (options.baseline or ())[:2] if isinstance(name, str)]
    mentioned += [("options.gravity", name) for name in (options.gravity or ())[:1] if isinstance(name, str)]
    for field, name in mentioned:
        if name not in names:
            raise InvalidInput(
                f"there is no video of this camera; there are {', '.join(names)}", field=field, camera=name
            )


def _images(frame_sets: FrameSets, progress: Callable[[int, int | None], None]) -> Iterator[tuple[Image | None, ...]]:
    total = frame_sets.count and min(frame_sets.count, _MOST_FRAMES)
    seen = 0
    for frame_set in frame_sets:
        progress(seen, total)
        yield frame_set.images
        seen = frame_set.index + 1
        if seen >= _MOST_FRAMES:
            break
    progress(seen, seen)


def _refuse_unseen(tracks: Tracks, names: tuple[str, ...]) -> None:
    """Raise for videos that show too little of a person, or one who stands still."""
    shown = tracks.keypoints[..., 2] > 0  # (N, V, K)
    frames = (shown.sum(-1) >= 5).sum(0)
    worst = int(np.argmin(frames))
    if frames[worst] < _LEAST_FRAMES:
        raise CalibrationError(
            f"a person is seen in {frames[worst]} of {len(shown)} images; {_LEAST_FRAMES} are the least",
            field="video",
            camera=names[worst],
        )
    places = np.where(shown[..., None], tracks.keypoints[..., :2], np.nan)
    with np.errstate(all="ignore"):
        spread = np.array([_moved(places[:, v]) for v in range(len(names))])
    extents = tracks.extent
    if (spread / extents).max() < _STILL:
        raise CalibrationError(
            "the person hardly moves, so every image says the same; let them walk about and swing their arms",
            field="video",
        )


def _moved(places: Array) -> float:
    """How far the joints of `places` `(N, K, 2)` usually are from their own middle."""
    known = np.isfinite(places[..., 0])
    spreads = [np.std(places[own, k], axis=0).max() for k, own in enumerate(known.T) if own.sum() > 1]
    return float(np.median(spreads)) if spreads else 0.0


def _refuse_flat(points: Array) -> None:
    """Raise for joints that all lie in a plane: infinitely many pairs of cameras see those alike."""
    known = points[np.isfinite(points).all(-1)]
    thickness = np.linalg.svd(known - known.mean(0), compute_uv=False)
    if thickness[2] < _FLAT * thickness[0]:
        raise CalibrationError(
            "all that was seen lies in one plane, which does not tell where cameras are; let the person turn and walk"
            " to and fro",
            field="video",
        )


def _stature(adjusted: Adjusted, names: tuple[str, ...], options: CalibrationOptions) -> float:
    """The person's stature in metres."""
    if options.baseline is None:
        assert options.height is not None
        return options.height
    a, b, metres = options.baseline
    centers = adjusted.views.centers
    return metres / max(float(np.linalg.norm(centers[names.index(a)] - centers[names.index(b)])), 1e-9)


def _up(adjusted: Adjusted, names: tuple[str, ...], options: CalibrationOptions) -> Array:
    if options.gravity is None:
        return upwards(adjusted.points)
    camera, *direction = options.gravity
    down = np.array(direction) @ adjusted.views.R[names.index(camera)]
    return np.asarray(-down / np.linalg.norm(down))


def _camera(camera: Camera, R: Array, t: Array, focal: float, radial: float) -> Camera:
    """`camera` with the lens that was found, at its place."""
    K = camera.K.copy()
    K[0, 0] = K[1, 1] = focal
    return Camera(camera.name, camera.size, K, R, t, (radial, 0.0, 0.0, 0.0))


def _apart(name: str, offset: float, first: str) -> str:
    """What to do about a camera whose image i + `offset` shows what image i of the camera `first` shows."""
    when = "before" if offset > 0 else "after"
    return (
        f"camera {name!r}: its video begins {abs(offset):.2f} frames {when} that of {first!r}; give estimates the"
        f" offset {offset:.2f} of this camera"
    )
