"""One picture of an answer: the people at an instant in 3D, and how knees, hips and elbows bend over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from synpose.angles import joint_angles
from synpose.errors import InvalidInput
from synpose.formats.upright import to_y_up, up_axis
from synpose.pose import PoseSequence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot"]

_CURVES = ("knee_flexion", "hip_flexion", "elbow_flexion")
_COLOURS = {"left": "tab:blue", "right": "tab:orange"}


def plot(sequence: PoseSequence, frame: int | None = None, person: int | None = None) -> Figure:
    """A matplotlib figure of the people at `frame` (counted from 0; the middle one) and the angles of `person`.

    Without an id: the person in the most frames. The figure is not pyplot's: a notebook shows it once, and `savefig`
    writes it. Raises `InvalidInput` or `NotFound` for a frame or person that is not there.
    """
    from matplotlib import pyplot

    count = len(sequence.frames)
    if frame is not None and not 0 <= frame < count:
        raise InvalidInput(f"there is no frame {frame}; there are {count}", field="frame")
    figure: Figure = pyplot.figure(figsize=(11, 4.5), layout="constrained")
    pyplot.close(figure)
    panels: Any = figure.subfigures(1, 2, width_ratios=(1, 1.4))
    left, right = panels
    _draw_people(left.add_subplot(projection="3d"), sequence, count // 2 if frame is None else frame)
    _draw_angles(right, sequence, person)
    return figure


def _draw_people(axes: Any, sequence: PoseSequence, frame: int) -> None:
    """Stick figures, upright."""
    people = sequence.frames[frame].people if sequence.frames else ()
    up, skeleton = up_axis(sequence), sequence.header.skeleton
    seen = [np.zeros((0, 3))]
    for someone in people:
        x, y, z = to_y_up(someone.joints, up).T
        joints = np.stack((x, -z, y), axis=1)  # matplotlib has z up
        seen.append(joints[np.isfinite(joints).all(1)])
        for a, b in skeleton.bones:
            side = skeleton.joints[b].partition("_")[0]
            axes.plot(*joints[[a, b]].T, color=_COLOURS.get(side, "tab:gray"), linewidth=2)
        axes.scatter(*joints.T, s=6, color="black")
    points = np.concatenate(seen)
    if len(points):
        low, high = points.min(0), points.max(0)
        half = max((high - low).max() / 2, 0.1)
        for name, middle in zip("xyz", (low + high) / 2, strict=True):
            getattr(axes, f"set_{name}lim")(middle - half, middle + half)
    axes.set_box_aspect((1, 1, 1))
    time = f" ({sequence.frames[frame].timestamp:.2f} s)" if sequence.frames else ""
    axes.set_title(f"frame {frame}{time}, metres", fontsize="medium")


def _draw_angles(figure: Any, sequence: PoseSequence, person: int | None) -> None:
    """A curve for each side and angle."""
    times = [frame.timestamp for frame in sequence.frames]
    angles = joint_angles(sequence.joints(person), sequence.header.skeleton)
    rows = figure.subplots(len(_CURVES), 1, sharex=True)
    for axes, curve in zip(rows, _CURVES, strict=True):
        for side, colour in _COLOURS.items():
            axes.plot(times, angles[f"{side}_{curve}"], color=colour, label=side)
        axes.set_ylabel(curve.replace("_", "\n") + " (°)", fontsize="small")
        axes.grid(alpha=0.3)
    rows[0].legend(loc="upper right", fontsize="small")
    rows[-1].set_xlabel("time (s)")
