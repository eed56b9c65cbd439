"""The TRC marker file that OpenSim reads: one person's joints as markers, in metres.

The person is the one in the most frames. Markers are named as in `markers`, which Pose2Sim's models for OpenSim expect,
and y is up, as in OpenSim: the world frame of the calibration, turned. Layout: OpenSim, "Marker (.trc) Files".
"""

from __future__ import annotations

import numpy as np

from synpose.formats.json import DECIMALS
from synpose.formats.markers import marker_names
from synpose.formats.upright import Up, to_y_up
from synpose.pose import PoseSequence

__all__ = ["encode"]


def encode(sequence: PoseSequence, up: Up) -> bytes:
    """`sequence` as TRC: a tab ends each cell, frames count from 1, a joint that is not known is three empty cells."""
    markers, fps = marker_names(sequence.header.skeleton), sequence.header.fps
    joints = to_y_up(sequence.joints(), up)  # (T, J, 3)
    joints[~np.isfinite(joints).all(-1)] = np.nan
    count, rate = len(sequence.frames), f"{fps:.6g}"
    lines = [
        ("PathFileType", "4", "(X/Y/Z)", "synpose.trc"),
        ("DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units", "OrigDataRate", "OrigDataStartFrame",
         "OrigNumFrames"),
        (rate, rate, str(count), str(len(markers)), "m", rate, "1", str(count)),
        ("Frame#", "Time", *(cell for marker in markers for cell in (marker, "", "")), ""),
        ("", "", *(f"{axis}{number}" for number in range(1, len(markers) + 1) for axis in "XYZ"), ""),
        ("",),
    ]  # fmt: skip
    for number, (frame, row) in enumerate(zip(sequence.frames, joints, strict=True), start=1):
        cells = (f"{value:.{DECIMALS}f}" if np.isfinite(value) else "" for value in row.ravel().tolist())
        lines.append(
            (str(number), f"{frame.timestamp:.{DECIMALS}f}", *cells, "")
        )  # OpenSim drops one empty cell at the end
    return "".join("\t".join(line) + "\n" for line in lines).encode()
