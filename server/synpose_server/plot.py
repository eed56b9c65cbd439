"""A still of the answer in space: the skeleton at several instants, the paths of hands and feet, the cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synpose.pose import PoseSequence
from synpose.rig import Rig

__all__ = ["write_plot"]

_POSES = 5  # instants shown, evenly over the clip
_COLOURS = {"left": "#2a9d4e", "right": "#e4701e"}
_TRAILS = ("left_wrist", "right_wrist", "left_ankle", "right_ankle")


def write_plot(path: Path, rig: Rig, sequence: PoseSequence) -> None:
    """Write a PNG of the person who appears most, if any, in the world frame: close by, and among the cameras."""
    import matplotlib  # only the demo needs it, and it is slow to import

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    skeleton = sequence.header.skeleton
    joints = sequence.joints() if sequence.frames else np.full((1, len(skeleton), 3), np.nan)
    figure = plt.figure(figsize=(13, 6.5), dpi=110, layout="constrained")
    for place, title in ((1, "joints in the world frame, metres"), (2, "among the cameras")):
        axes = figure.add_subplot(1, 2, place, projection="3d")
        instants = np.linspace(0, len(joints) - 1, _POSES).round().astype(int)
        for shade, t in zip(np.linspace(0.25, 1, _POSES), instants, strict=True):
            for a, b in skeleton.bones:
                side = skeleton.joints[b].partition("_")[0]
                axes.plot(*joints[t, [a, b]].T, color=_COLOURS.get(side, "#555555"), alpha=shade, lw=1 + 1.5 * shade)
        if place == 1:
            for name in _TRAILS:
                trail = joints[:, skeleton.joints.index(name)]
                axes.plot(*trail.T, color=_COLOURS[name.partition("_")[0]], lw=0.8, ls=":")
            _frame(axes, joints.reshape(-1, 3))
        else:
            for camera in rig:
                corners = np.array([(0, 0), (camera.size[0], 0), camera.size, (0, camera.size[1])], dtype=float)
                far = camera.center + camera.rays(corners) * 0.6
                for corner, following in zip(far, np.roll(far, -1, 0), strict=True):
                    axes.plot(*np.stack((camera.center, corner)).T, color="#3366aa", lw=0.8)
                    axes.plot(*np.stack((corner, following)).T, color="#3366aa", lw=0.8)
                axes.text(*camera.center, f" {camera.name}", fontsize=8)
            _frame(axes, np.vstack((joints.reshape(-1, 3), [camera.center for camera in rig])))
        axes.set_title(title, fontsize=10)
    figure.suptitle(
        f"{len(sequence.frames)} frames at {sequence.header.fps:g} fps — green: left, orange: right", fontsize=11
    )
    figure.savefig(path)
    plt.close(figure)


def _frame(axes: object, points: NDArray[np.float64]) -> None:
    """Equal scales around `points`, as far as there are any."""
    points = points[np.isfinite(points).all(-1)]
    if not len(points):
        return
    low, high = points.min(0), points.max(0)
    middle, half = (low + high) / 2, (high - low).max() / 2
    for letter, m in zip("xyz", middle, strict=True):
        getattr(axes, f"set_{letter}lim")(m - half, m + half)
        getattr(axes, f"set_{letter}label")(letter)
    axes.set_box_aspect((1, 1, 1))  # type: ignore[attr-defined]
