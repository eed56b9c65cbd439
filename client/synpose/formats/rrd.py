"""The recording of Rerun's viewer: everybody's joints and bones on the timelines `frame` and `time`.

Joints of person n are the points of `world/person<n>`, in metres, in the calibration's world frame, with sigma as
radius and the skeleton's joint numbers as keypoint ids; names and bones are the annotation context of `world`. A joint
that is not known is no point of its frame. `world` says which axis points up.
"""

from __future__ import annotations

import numpy as np

from synpose.formats.upright import Up
from synpose.pose import PoseSequence

__all__ = ["encode"]

_VIEWS = {
    "x": "RIGHT_HAND_X_UP", "y": "RIGHT_HAND_Y_UP", "z": "RIGHT_HAND_Z_UP",
    "-x": "RIGHT_HAND_X_DOWN", "-y": "RIGHT_HAND_Y_DOWN", "-z": "RIGHT_HAND_Z_DOWN",
}  # fmt: skip


def encode(sequence: PoseSequence, up: Up) -> bytes:
    """`sequence` as a recording; needs rerun-sdk."""
    import rerun as rr

    header, frames = sequence.header, sequence.frames
    recording = rr.RecordingStream("synpose")
    stream = rr.binary_stream(recording)
    skeleton = rr.ClassDescription(
        info=rr.AnnotationInfo(id=0, label=header.skeleton.name),
        keypoint_annotations=[rr.AnnotationInfo(id=j, label=name) for j, name in enumerate(header.skeleton.joints)],
        keypoint_connections=list(header.skeleton.bones),
    )
    recording.log("world", rr.AnnotationContext([skeleton]), getattr(rr.ViewCoordinates, _VIEWS[up]), static=True)
    about = rr.AnyValues(model=f"{header.model.name} {header.model.version}", units=header.units, fps=header.fps)
    recording.log("world", about, static=True)
    timelines = [
        rr.TimeColumn("frame", sequence=[frame.index for frame in frames]),
        rr.TimeColumn("time", duration=[frame.timestamp for frame in frames]),
    ]
    for person in sequence.ids:
        joints, sigma = sequence.joints(person), sequence.sigma(person)
        known = np.isfinite(joints).all(-1)  # (T, J)
        points = rr.Points3D.columns(
            positions=joints[known],
            radii=np.nan_to_num(sigma[known]),
            class_ids=np.zeros(known.sum(), dtype=np.uint16),
            keypoint_ids=np.nonzero(known)[1].astype(np.uint16),
        )
        recording.send_columns(f"world/person{person}", timelines, points.partition(known.sum(1)))
    return bytes(stream.read() or b"")
