"""Live streams as messages of `StreamPoses`, both ways; used by server and client."""

from __future__ import annotations

import json
from dataclasses import asdict, fields

from synpose.errors import InvalidInput, SynposeError, from_problem, to_problem
from synpose.live import (
    Ack,
    Capture,
    End,
    Ended,
    FromServer,
    Latency,
    LivePose,
    Opened,
    Received,
    Resume,
    Start,
    StreamCounters,
    StreamPolicy,
    ToServer,
)
from synpose.v1 import pose_pb2 as pb
from synpose.wire import (
    calibration_from_message,
    calibration_to_message,
    frame_from_message,
    frame_to_message,
    header_from_message,
    header_to_message,
    options_from_message,
    options_to_message,
)

__all__ = ["from_client", "from_server", "problem_from_message", "problem_to_message", "to_client", "to_server"]


def to_server(message: ToServer) -> pb.StreamPosesRequest:
    """What a client says, as it is sent."""
    match message:
        case Capture(timestamp, images, whole):
            parts = [pb.Image(camera=camera, data=data) for camera, data in images.items()]
            return pb.StreamPosesRequest(capture=pb.Capture(timestamp=timestamp, images=parts, whole=whole))
        case Ack(sequence):
            return pb.StreamPosesRequest(ack=pb.StreamAck(sequence=sequence))
        case End():
            return pb.StreamPosesRequest(end=pb.StreamEnd())
        case Resume(token, last):
            return pb.StreamPosesRequest(resume=pb.StreamResume(token=token, last_sequence=last))
        case Start(calibration, options, policy):
            start = pb.StreamStart(options=options_to_message(options), policy=pb.StreamPolicy(**asdict(policy)))
            if isinstance(calibration, str):
                start.calibration_hash = calibration
            else:
                start.calibration.CopyFrom(calibration_to_message(calibration))
            return pb.StreamPosesRequest(start=start)


def from_client(message: pb.StreamPosesRequest) -> ToServer:
    """What a client said; raises `InvalidInput` for what is no part of a stream."""
    match message.WhichOneof("part"):
        case "capture":
            capture = message.capture
            images = {image.camera: image.data for image in capture.images}
            if len(images) < len(capture.images):
                raise InvalidInput("a capture holds two images of one camera", field="capture.images")
            return Capture(capture.timestamp, images, capture.whole)
        case "ack":
            return Ack(message.ack.sequence)
        case "end":
            return End()
        case "resume":
            resume = message.resume
            return Resume(resume.token, resume.last_sequence if resume.HasField("last_sequence") else None)
        case "start":
            start = message.start
            if start.WhichOneof("rig") == "calibration_hash":
                calibration: dict[str, bytes] | str = start.calibration_hash
            else:
                calibration = calibration_from_message(start.calibration)
            given = {f.name: list(v) if f.name == "cameras" else v for f, v in start.policy.ListFields()}
            return Start(calibration, options_from_message(start.options), StreamPolicy.from_mapping(given))
    raise InvalidInput("a message is empty: it needs start, resume, capture, ack or end")


def to_client(message: FromServer) -> pb.StreamPosesResponse:
    """What the server answers, as it is sent."""
    match message:
        case LivePose():
            result = pb.StreamResult(
                frame=frame_to_message(message.frame),
                skew=message.skew,
                missing=message.missing,
                latency=pb.StreamLatency(**asdict(message.latency)),
                counters=pb.StreamCounters(**asdict(message.counters)),
                clock_offsets=message.clock_offsets,
            )
            return pb.StreamPosesResponse(result=result)
        case Received(captures):
            return pb.StreamPosesResponse(received=pb.StreamReceived(captures=captures))
        case Ended(counters):
            return pb.StreamPosesResponse(ended=pb.StreamEnded(counters=pb.StreamCounters(**asdict(counters))))
        case Opened(token, header, next_capture, digest):
            opened = pb.StreamOpened(
                token=token, header=header_to_message(header), next_capture=next_capture, calibration_hash=digest
            )
            return pb.StreamPosesResponse(opened=opened)


def from_server(message: pb.StreamPosesResponse) -> FromServer:
    """What the server answered."""
    match message.WhichOneof("part"):
        case "result":
            result = message.result
            return LivePose(
                frame_from_message(result.frame),
                result.skew,
                tuple(result.missing),
                Latency(**{f.name: getattr(result.latency, f.name) for f in fields(Latency)}),
                _counters(result.counters),
                dict(result.clock_offsets),
            )
        case "received":
            return Received(message.received.captures)
        case "ended":
            return Ended(_counters(message.ended.counters))
        case "opened":
            opened = message.opened
            header = header_from_message(opened.header)
            return Opened(opened.token, header, opened.next_capture, opened.calibration_hash)
    raise InvalidInput("the server's message is empty")


def problem_to_message(error: SynposeError) -> pb.StreamPosesResponse:
    """What is sent before a stream ends by `error`."""
    return pb.StreamPosesResponse(problem=pb.StreamProblem(document=json.dumps(to_problem(error))))


def problem_from_message(message: pb.StreamPosesResponse) -> SynposeError:
    """The error by which the stream ends."""
    return from_problem(json.loads(message.problem.document))


def _counters(message: pb.StreamCounters) -> StreamCounters:
    return StreamCounters(**{f.name: getattr(message, f.name) for f in fields(StreamCounters)})
