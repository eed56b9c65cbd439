"""What a transport does: carry one request to a server and its answer back, and nothing else."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from synpose.calibrated import Calibrated
from synpose.calibration_options import CalibrationOptions
from synpose.errors import InvalidInput, ServerError
from synpose.live import FromServer, ToServer
from synpose.options import Options
from synpose.pose import Frame, PoseHeader, ServedModel
from synpose.rig import Rig
from synpose.skeleton import Skeleton

__all__ = ["CalibrationProgress", "CalibrationUploads", "Credentials", "Disconnected", "Transport", "Upload"]

StrPath: TypeAlias = str | os.PathLike[str]

Upload: TypeAlias = Path | bytes | Sequence[Path | bytes | None]
"""What is sent for a camera: a video (a file or its bytes), or encoded images in order with None for a missing one."""


@dataclass(frozen=True)
class CalibrationUploads:
    """Videos of the person by camera, videos of a board, and the cameras whose lenses are known."""

    videos: Mapping[str, Path | bytes]
    boards: Mapping[str, Path | bytes]
    lenses: Rig | None


@dataclass(frozen=True)
class CalibrationProgress:
    """How many frame sets were seen, and of how many (None: not known); all, while the cameras are computed."""

    done: int
    total: int | None


@dataclass(frozen=True)
class Credentials:
    """Who calls and whom to trust: an API key, the certificates (PEM) that vouch for the server, and the caller's own.

    Without `ca` those of the system vouch. `cert` is a file with the certificate and its key, or the two files.
    """

    api_key: str | None = None
    ca: Path | None = None
    cert: tuple[Path, Path] | None = None

    @classmethod
    def of(cls, api_key: str | None, ca: StrPath | None, cert: StrPath | tuple[StrPath, StrPath] | None) -> Credentials:
        """Those of a client's arguments; raises `InvalidInput` for an unusable key or a file that is not there."""
        if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key.strip()):
            raise InvalidInput("an API key is printable ASCII", field="api_key")
        pair = None if cert is None else cert if isinstance(cert, tuple) else (cert, cert)
        for name, path in (("ca", ca), *(("cert", path) for path in pair or ())):
            if path is not None and not Path(path).is_file():
                raise InvalidInput(f"there is no file {path}", field=name)
        return cls(api_key, Path(ca) if ca else None, (Path(pair[0]), Path(pair[1])) if pair else None)


class Disconnected(ServerError):
    """A live stream's connection broke off; the stream may go on over another one."""


class Transport(Protocol):
    """A connection to one server, used from one event loop.

    The client has checked that the uploads are all videos or all images, and that all image sequences are equally
    long; whatever else is wrong is for the server to say. Every method raises the exceptions of `synpose.errors`:
    those that the server's problem document stands for (`from_problem`), or `ServerError` that says what to check
    when the server cannot be reached or breaks off.
    """

    def estimate(
        self,
        calibration_files: Mapping[str, bytes],
        uploads: Mapping[str, Upload],
        options: Options,
        timestamps: Sequence[float] | None = None,
    ) -> AsyncGenerator[PoseHeader | Frame, None]:
        """The header, then the frames as they are computed.

        Files are read while they are sent, never as a whole where the wire allows it. Closing the generator stops
        the estimate on the server. `timestamps` are the capture times of the frame sets in seconds.
        """
        ...

    def calibrate(
        self, uploads: CalibrationUploads, options: CalibrationOptions
    ) -> AsyncGenerator[CalibrationProgress | Calibrated, None]:
        """How far the calibration is, some times a second, and at last the cameras.

        Closing the generator stops the work on the server. Raises `InvalidInput` where the wire has no calibration.
        """
        ...

    def live(self, messages: AsyncGenerator[ToServer, None], token: str = "") -> AsyncGenerator[FromServer, None]:
        """What the server answers to the messages of a live stream; closing the generator breaks the connection.

        `token` is that of the stream that is resumed: of several servers behind one address it leads to the one that
        holds the stream. Raises `Disconnected` when the connection breaks.
        """
        ...

    async def models(self) -> tuple[ServedModel, ...]:
        """The models of the server."""
        ...

    async def skeletons(self) -> tuple[Skeleton, ...]:
        """The skeletons that the server can answer in."""
        ...

    async def ready(self) -> bool:
        """Whether the server can answer estimates now; False, not an error, when it cannot be reached."""
        ...

    async def aclose(self) -> None:
        """Close the connection."""
        ...
