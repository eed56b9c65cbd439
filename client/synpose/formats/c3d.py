"""The C3D file of biomechanics: joints as points, in millimetres, in the calibration's world frame.

Points are named as in `markers`. A point's residual is the joint's sigma; −1 marks a gap, as C3D has it. Everybody is
in the one file: with several people the points of each begin with `p<id>:`, and the group SUBJECTS names them.
POINT:X_SCREEN and Y_SCREEN say which axis points up.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from synpose.formats.markers import marker_names
from synpose.formats.upright import Up
from synpose.pose import PoseSequence

__all__ = ["encode"]

_MILLIMETRES = 1000.0
_SIDEWAYS = {"x": "+Y", "y": "+X", "z": "+X"}


def encode(sequence: PoseSequence, up: Up) -> bytes:
    """`sequence` as C3D at a constant rate, a row for every frame; needs ezc3d."""
    import ezc3d

    names, ids, count = marker_names(sequence.header.skeleton), sequence.ids, len(sequence.frames)
    prefixes = [f"p{person}:" for person in ids] if len(ids) > 1 else [""]
    points = np.ones((4, len(prefixes) * len(names), count))
    residuals = np.zeros(points.shape[1:])
    for at, person in enumerate(ids or (None,)):  # nobody: one who is never seen
        rows = slice(at * len(names), (at + 1) * len(names))
        points[:3, rows] = sequence.joints(person).transpose(2, 1, 0) * _MILLIMETRES  # (T, J, 3) to (3, J, T)
        residuals[rows] = np.nan_to_num(sequence.sigma(person).T * _MILLIMETRES)
    gaps = ~np.isfinite(points).all(0)
    points[:3, gaps] = np.nan
    residuals[gaps] = -1.0

    file = ezc3d.c3d()
    file["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
    file["parameters"]["POINT"]["RATE"]["value"] = [sequence.header.fps]
    file["parameters"]["POINT"]["LABELS"]["value"] = [prefix + name for prefix in prefixes for name in names]
    file.add_parameter("POINT", "X_SCREEN", [_SIDEWAYS[up[-1]]])
    file.add_parameter("POINT", "Y_SCREEN", [up.upper() if up[0] == "-" else f"+{up.upper()}"])
    file.add_parameter("MANUFACTURER", "SOFTWARE", ["Synpose"])
    file.add_parameter("SUBJECTS", "USED", [len(ids)])
    file.add_parameter("SUBJECTS", "NAMES", [f"person {person}" for person in ids] or [""])
    file.add_parameter("SUBJECTS", "LABEL_PREFIXES", prefixes)
    del file["data"]["rotations"]  # there are none, and the library divides by the number of frames for them
    file["data"]["points"] = points
    file["data"]["meta_points"]["residuals"] = residuals[None]
    with TemporaryDirectory() as folder:  # the library writes to paths alone
        path = Path(folder) / "pose.c3d"
        file.write(str(path))
        return path.read_bytes()
