"""What a calibration says of itself: how well it explains the images, and how firmly they hold each camera."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synpose.calibrated import CameraReport
from synpose.errors import CalibrationError
from synpose_server.calibrate.bundle_adjustment import CLOCK, FOCAL, KERNEL, WIDTH, Adjusted
from synpose_server.calibrate.tracks import Tracks

__all__ = ["camera_reports", "refuse_astray", "refuse_weak"]

Array = NDArray[np.float64]

_LONGEST = 30  # frames over which errors are taken to be alike
_ASTRAY = 0.045  # of the person's extent in the image, from which a keypoint does not fit
_REFUSED = (0.25, 8.0)  # position's error beside the distance to the person, rotation's in degrees


def camera_reports(
    adjusted: Adjusted, tracks: Tracks, names: tuple[str, ...], sides: Array, metres: float
) -> tuple[CameraReport, ...]:
    """Reports of all views; `sides` `(V,)` are the images' long sides in pixels, `metres` a stature."""
    views = adjusted.views
    wide = np.sqrt(_inflation(adjusted, tracks))
    person = np.nanmedian(adjusted.points.reshape(-1, 3), axis=0)
    reports = []
    for v, name in enumerate(names):
        own = adjusted.covariance[v * WIDTH : (v + 1) * WIDTH, v * WIDTH : (v + 1) * WIDTH] * wide**2
        R, (x, y, z) = views.R[v], views.t[v]
        # the centre −Rᵀt, moved by turning R → exp(w) R and by t
        moves = np.hstack((-R.T @ np.array(((0, -z, y), (z, 0, -x), (-y, x, 0))), -R.T))
        position = float(np.sqrt(np.trace(moves @ own[:6, :6] @ moves.T)))
        off = np.linalg.norm(adjusted.residuals[:, v], axis=-1)
        distance = float(np.linalg.norm(views.centers[v] - person))
        reports.append(
            CameraReport(
                name,
                reprojection=float(np.nanmedian(off) * sides[v]),
                keypoints=int(np.isfinite(off).sum()),
                position_error=position * metres,
                relative_error=position / distance,
                rotation_error=float(np.degrees(np.sqrt(np.trace(own[:3, :3])))),
                focal=float(views.focal[v] * sides[v]),
                focal_error=float(np.sqrt(own[FOCAL, FOCAL])),
                offset=float(views.clock[v]),
                offset_error=float(np.sqrt(own[CLOCK, CLOCK])),
            )
        )
    return tuple(reports)


def refuse_weak(reports: tuple[CameraReport, ...]) -> None:
    """Raise `CalibrationError` for the camera that the motion holds least, if that is too little to be of use."""
    worst = max(reports, key=lambda r: max(r.relative_error / _REFUSED[0], r.rotation_error / _REFUSED[1]))
    if worst.relative_error <= _REFUSED[0] and worst.rotation_error <= _REFUSED[1]:
        return
    advice = "let the person walk about, towards and away from the cameras"
    if worst.focal_error > 0:
        advice += "; give intrinsics (a board, a calibration file), or same_lens if the cameras are of one kind"
    raise CalibrationError(
        f"the motion does not hold this camera: its position would be uncertain by {worst.relative_error:.0%} of its"
        f" distance, its direction by {worst.rotation_error:.1f}°; {advice}",
        field="video",
        camera=worst.name,
    )


def refuse_astray(adjusted: Adjusted, tracks: Tracks, names: tuple[str, ...]) -> None:
    """Raise `CalibrationError` for a camera most of whose keypoints fit no joint: it saw someone else."""
    off = np.linalg.norm(adjusted.residuals, axis=-1) / tracks.extent[:, None]  # (T, V, K)
    agree = [float(np.mean(own[np.isfinite(own)] < _ASTRAY)) for own in np.moveaxis(off, 1, 0)]
    worst = int(np.argmin(agree))
    if agree[worst] < 0.5:
        raise CalibrationError(
            f"only {agree[worst]:.0%} of what it saw fits the other cameras; does it show the same person at the same"
            " time, whole and larger than anyone else?",
            field="video",
            camera=names[worst],
        )


def _inflation(adjusted: Adjusted, tracks: Tracks) -> float:
    """How much larger variances are than if errors had the spread that was assumed and were independent.

    The spread is read off the median, which what is far off does not move. A network errs alike for many frames, so
    what counts is how often its errors change: they are summed until their correlation has faded.
    """
    errors = adjusted.residuals / tracks.spread[:, None, None]
    weights = adjusted.weights[..., None] * tracks.spread[:, None, None] ** 2
    known = np.where(np.isfinite(errors), errors, 0.0)
    variance = float(np.nanmedian((errors**2).sum(-1))) / (2 * np.log(2))  # that of normal ones with this median
    # a step changes the pull of what the kernel holds back by less than its weight says
    u = (known**2).sum(-1, keepdims=True) / KERNEL**2
    firm = float((weights * (1 - u) / (1 + u)).sum() / max(weights.sum(), 1e-9))
    rooted = np.sqrt(weights) * known
    total = 1.0
    power = float((rooted**2).sum() / max((weights > 0).sum() * 2, 1))
    for lag in range(1, min(_LONGEST, len(rooted) - 1) + 1):
        both = (weights[lag:] > 0) & (weights[:-lag] > 0)
        alike = float((rooted[lag:] * rooted[:-lag]).sum() / max(both.sum() * 2, 1)) / max(power, 1e-12)
        if alike < 0.1:
            break
        total += 2 * alike
    return float(variance * total / max(firm, 0.1) ** 2)
