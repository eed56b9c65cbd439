"""The answer as numpy arrays in one `.npz` file, NaN for what is not known.

`joints` (P, T, J, 3) metres in the calibration's world frame, `sigma` (P, T, J) metres, `score` (P, T), `person` (P,)
ids, `frame` (T,) indices, `timestamp` (T,) seconds, `fps`, `units`, `skeleton`, `joint_names` (J,), `parents` (J,),
`model`. A person who is absent from a frame is NaN there.
"""

from __future__ import annotations

import io

import numpy as np

from synpose.pose import PoseSequence

__all__ = ["encode"]


def encode(sequence: PoseSequence) -> bytes:
    """`sequence` as a compressed `.npz`; `numpy.load` reads it without pickles."""
    header, frames, ids = sequence.header, sequence.frames, sequence.ids
    row = {person: p for p, person in enumerate(ids)}
    joints = np.full((len(ids), len(frames), len(header.skeleton), 3), np.nan)
    sigma, score = np.full(joints.shape[:3], np.nan), np.full(joints.shape[:2], np.nan)
    for t, frame in enumerate(frames):
        for person in frame.people:
            at = row[person.id], t
            joints[at], sigma[at], score[at] = person.joints, person.sigma, person.score
    file = io.BytesIO()
    np.savez_compressed(
        file,
        joints=joints,
        sigma=sigma,
        score=score,
        person=np.array(ids, dtype=np.int64),
        frame=np.array([frame.index for frame in frames], dtype=np.int64),
        timestamp=np.array([frame.timestamp for frame in frames], dtype=np.float64),
        fps=np.float64(header.fps),
        units=np.str_(header.units),
        skeleton=np.str_(header.skeleton.name),
        joint_names=np.array(header.skeleton.joints, dtype=np.str_),
        parents=np.array(header.skeleton.parents, dtype=np.int64),
        model=np.str_(f"{header.model.name} {header.model.version}"),
    )
    return file.getvalue()
