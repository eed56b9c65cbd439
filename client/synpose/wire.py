"""The gRPC messages of `synpose.v1` and the vocabulary they stand for, both ways; used by server and client."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields

import numpy as np

from synpose.errors import InvalidInput
from synpose.options import Options
from synpose.pose import Frame, ModelInfo, Notice, Person, PoseHeader
from synpose.skeleton import Skeleton
from synpose.v1 import pose_pb2 as pb

__all__ = [
    "ACCEPTED_HEADER",
    "MAX_CHUNK_BYTES",
    "MAX_MESSAGE_BYTES",
    "PROBLEM_TRAILER",
    "calibration_from_message",
    "calibration_to_message",
    "frame_from_message",
    "frame_to_message",
    "header_from_message",
    "header_to_message",
    "options_from_message",
    "options_to_message",
    "skeleton_from_message",
    "skeleton_to_message",
]

MAX_CHUNK_BYTES = 1024 * 1024
"""Most bytes of a file in one message of `EstimateClip`: larger messages hold up the others on the event loop."""
MAX_MESSAGE_BYTES = 32 * MAX_CHUNK_BYTES
"""Largest message: a frame set of 16 cameras in JPEG, or several of fewer; clips go up by `EstimateClip`."""
ACCEPTED_HEADER = "synpose-start"
"""Initial metadata of `EstimateClip` that says that `start` was accepted and that the upload may follow."""
PROBLEM_TRAILER = "synpose-problem-bin"
"""Trailing metadata that holds the problem+json document of an error."""


def options_to_message(options: Options) -> pb.Options:
    return pb.Options(**{f.name: getattr(options, f.name) for f in fields(options)})  # None leaves a field unset


def options_from_message(message: pb.Options) -> Options:
    """What is not set takes its default; raises `OptionsError` or `NotFound` for an unusable value."""
    return Options.from_mapping({f.name: value for f, value in message.ListFields()})


def calibration_to_message(files: Mapping[str, bytes]) -> pb.Calibration:
    return pb.Calibration(files=[pb.Calibration.File(name=name, content=data) for name, data in files.items()])


def calibration_from_message(message: pb.Calibration) -> dict[str, bytes]:
    """The files by name; raises `InvalidInput` when a name is doubled."""
    files = {file.name: file.content for file in message.files}
    if len(files) < len(message.files):
        raise InvalidInput("two calibration files have the same name", field="calibration")
    return files


def skeleton_to_message(skeleton: Skeleton) -> pb.Skeleton:
    return pb.Skeleton(name=skeleton.name, joints=skeleton.joints, parents=skeleton.parents)


def skeleton_from_message(message: pb.Skeleton) -> Skeleton:
    return Skeleton(message.name, tuple(message.joints), tuple(message.parents))


def header_to_message(header: PoseHeader) -> pb.Header:
    return pb.Header(
        model_name=header.model.name,
        model_version=header.model.version,
        skeleton=skeleton_to_message(header.skeleton),
        fps=header.fps,
        units=header.units,
        left_out=header.left_out,
    )


def header_from_message(message: pb.Header) -> PoseHeader:
    model = ModelInfo(message.model_name, message.model_version)
    skeleton = skeleton_from_message(message.skeleton)
    return PoseHeader(model, skeleton, message.fps, message.units, dict(message.left_out))


def frame_to_message(frame: Frame) -> pb.Frame:
    return pb.Frame(
        index=frame.index,
        timestamp=frame.timestamp,
        people=[_person_to_message(person) for person in frame.people],
        notices=[pb.Notice(code=n.code, message=n.message, camera=n.camera) for n in frame.notices],
    )


def frame_from_message(message: pb.Frame) -> Frame:
    return Frame(
        message.index,
        message.timestamp,
        tuple(_person_from_message(person) for person in message.people),
        tuple(Notice(n.code, n.message, n.camera if n.HasField("camera") else None) for n in message.notices),
    )


def _person_to_message(person: Person) -> pb.Person:
    joints = []
    for position, sigma in zip(person.joints.tolist(), person.sigma.tolist(), strict=True):
        if all(map(math.isfinite, position)):
            x, y, z = position
            known = sigma if math.isfinite(sigma) else None
            joints.append(pb.Joint(position=pb.Position(x=x, y=y, z=z), sigma=known))
        else:
            joints.append(pb.Joint())
    return pb.Person(id=person.id, score=person.score, joints=joints, views=person.views)


def _person_from_message(message: pb.Person) -> Person:
    joints = np.full((len(message.joints), 3), np.nan)
    sigma = np.full(len(message.joints), np.nan)
    for j, joint in enumerate(message.joints):
        if joint.HasField("position"):
            joints[j] = joint.position.x, joint.position.y, joint.position.z
        if joint.HasField("sigma"):
            sigma[j] = joint.sigma
    return Person(message.id, message.score, joints, sigma, tuple(message.views))
