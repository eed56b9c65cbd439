"""The HTTP wire: every estimate is one `POST`, sent as multipart and answered as NDJSON."""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from synpose import live_json
from synpose.calibrated import Calibrated
from synpose.calibration import write_calibration
from synpose.calibration_options import CalibrationOptions
from synpose.errors import InvalidInput, ServerError, SynposeError, VideoError, from_problem
from synpose.formats import json as pose_json
from synpose.live import Ended, FromServer, Opened, ToServer
from synpose.options import Options
from synpose.pose import Frame, PoseHeader, ServedModel
from synpose.skeleton import Skeleton
from synpose.transports.base import CalibrationProgress, CalibrationUploads, Credentials, Disconnected, Upload

__all__ = ["HttpTransport"]

_CHUNK_BYTES = 1 << 20
_CONNECT_SECONDS = 10.0
_FPS = 30.0  # that of images where no option says otherwise


class HttpTransport:
    """A `Transport` to `http://host:port` or `https://host:port`, with or without a path before `/v1`.

    `http` is the connection as it is.
    """

    def __init__(self, url: str, credentials: Credentials | None = None) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise InvalidInput(f"the address of a server looks like http://127.0.0.1:8000, not {url!r}", field="url")
        self.url = url.rstrip("/")
        # How long to wait for an answer is for the caller to say: it depends on the clip.
        credentials = credentials or Credentials()
        self._headers = {"authorization": f"Bearer {credentials.api_key}"} if credentials.api_key else {}
        self._trust = _context(credentials)
        self.http = httpx.AsyncClient(
            timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=None),
            headers=self._headers,
            verify=self._trust,
        )

    async def estimate(
        self,
        calibration_files: Mapping[str, bytes],
        uploads: Mapping[str, Upload],
        options: Options,
        timestamps: Sequence[float] | None = None,
    ) -> AsyncGenerator[PoseHeader | Frame, None]:
        """As `Transport.estimate`."""
        form = _estimate_form(calibration_files, uploads, options, timestamps)
        skeleton: Skeleton | None = None
        with self._errors():
            async with aclosing(self._post("/v1/pose3d", form)) as records:
                async for record in records:
                    part = _part(record, skeleton)
                    if isinstance(part, PoseHeader):
                        skeleton = part.skeleton
                    yield part

    async def calibrate(
        self, uploads: CalibrationUploads, options: CalibrationOptions
    ) -> AsyncGenerator[CalibrationProgress | Calibrated, None]:
        """As `Transport.calibrate`."""
        form = _calibration_form(uploads, options)
        with self._errors():
            async with aclosing(self._post("/v1/calibrations/estimate", form)) as records:
                async for record in records:
                    if "progress" in record:
                        yield CalibrationProgress(**record["progress"])
                    else:
                        yield Calibrated.from_record(record)

    async def _post(self, path: str, form: Iterable[_Part]) -> AsyncGenerator[dict[str, Any], None]:
        """The records of an answer, a line each; raises the error that a line holds."""
        boundary = secrets.token_hex(16)
        async with self.http.stream(
            "POST",
            self.url + path,
            content=_multipart(boundary, form),
            headers={"content-type": f"multipart/form-data; boundary={boundary}", "accept": "application/x-ndjson"},
        ) as response:
            if response.is_error:
                await response.aread()
                raise self._refusal(response)
            async for line in _lines(response):
                record = json.loads(line)
                if "error" in record:
                    raise from_problem(record["error"])
                yield record

    async def live(self, messages: AsyncGenerator[ToServer, None], token: str = "") -> AsyncGenerator[FromServer, None]:
        """As `Transport.live`, over the WebSocket `/v1/stream`."""
        url = "ws" + self.url.removeprefix("http") + "/v1/stream"
        try:
            async with connect(
                url,
                additional_headers={**self._headers, **({"x-session-id": token} if token else {})},
                ssl=self._trust if url.startswith("wss") else None,
                max_size=None,
                compression=None,
                open_timeout=_CONNECT_SECONDS,
                ping_timeout=None,  # a server that is behind reads no ping
            ) as socket:
                sending = asyncio.create_task(_send(socket, messages))
                skeleton: Skeleton | None = None
                try:
                    async for text in socket:
                        answer = live_json.from_server(cast(str, text), skeleton)
                        if isinstance(answer, Opened):
                            skeleton = answer.header.skeleton
                        yield answer
                        if isinstance(answer, Ended):
                            return
                finally:
                    sending.cancel()
                    await asyncio.wait([sending])
            raise Disconnected(f"{self.url} broke off")
        except (WebSocketException, OSError, TimeoutError) as error:
            if (refusal := _turned_away(error)) is not None:
                raise refusal from error
            raise Disconnected(
                f"no live stream at {url}: check that `synpose serve` runs there ({error or type(error).__name__})"
            ) from error

    async def models(self) -> tuple[ServedModel, ...]:
        """As `Transport.models`."""
        records = (await self._get("/v1/models"))["models"]
        return tuple(ServedModel(**{**record, "skeletons": tuple(record["skeletons"])}) for record in records)

    async def skeletons(self) -> tuple[Skeleton, ...]:
        """As `Transport.skeletons`."""
        records = (await self._get("/v1/skeletons"))["skeletons"]
        return tuple(Skeleton(r["name"], tuple(r["joints"]), tuple(r["parents"])) for r in records)

    async def ready(self) -> bool:
        """As `Transport.ready`."""
        try:
            await self._get("/readyz")
        except SynposeError:
            return False
        return True

    async def aclose(self) -> None:
        """As `Transport.aclose`."""
        await self.http.aclose()

    async def _get(self, path: str) -> Any:
        with self._errors():
            response = await self.http.get(self.url + path)
            if response.is_error:
                raise self._refusal(response)
            return response.json()

    def _refusal(self, response: httpx.Response) -> SynposeError:
        if response.headers.get("content-type", "").startswith("application/problem+json"):
            return from_problem(response.json())
        return ServerError(
            f"{self.url} answered {response.status_code} {response.reason_phrase}; is it the HTTP port of a Synpose"
            " server?"
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL) as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise ServerError(
                    f"the certificate of {self.url} is not trusted; give the authority that vouches for it with `ca`"
                    f" ({error})"
                ) from error
            raise ServerError(
                f"no server at {self.url}: check that `synpose serve` runs there and that this is its HTTP port"
                f" ({error or type(error).__name__})"
            ) from error
        except httpx.HTTPError as error:
            raise ServerError(f"{self.url} broke off; its log may say why ({error or type(error).__name__})") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ServerError(f"{self.url} answered something else than a Synpose server does") from error


def _context(credentials: Credentials) -> ssl.SSLContext | bool:
    """Whom to trust and who to be; raises `InvalidInput` for certificates that cannot be read."""
    if credentials.ca is None and credentials.cert is None:
        return True
    try:
        context = ssl.create_default_context(cafile=credentials.ca)
        if credentials.cert is not None:
            context.load_cert_chain(*credentials.cert)
    except OSError as error:  # ssl.SSLError is one
        raise InvalidInput(f"the certificates cannot be used: {error}", field="cert") from None
    return context


def _turned_away(error: Exception) -> SynposeError | None:
    """Why a server does not want this caller's live stream; None for what another connection may get over."""
    if isinstance(error, InvalidStatus) and 400 <= error.response.status_code < 500:
        with suppress(ValueError, TypeError, AttributeError):  # of something else than a Synpose server
            return from_problem(json.loads(error.response.body))
    return None


async def _send(socket: ClientConnection, messages: AsyncIterator[ToServer]) -> None:
    with suppress(ConnectionClosed):  # reading tells why
        async for message in messages:
            await socket.send(live_json.to_server(message))


class _Part(NamedTuple):
    """Of a form: a field, the name of its file if it is one, what it holds, and the camera that it is of."""

    field: str
    content: bytes | Path
    filename: str | None = None
    camera: str = ""


async def _multipart(boundary: str, form: Iterable[_Part]) -> AsyncIterator[bytes]:
    """The body of a request, files read chunk by chunk as they are sent."""
    for part in form:
        name = f'; filename="{_quoted(part.filename)}"' if part.filename is not None else ""
        yield (f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(part.field)}"{name}\r\n\r\n'.encode())
        async for chunk in _chunks(part.camera, part.content):
            yield chunk
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def _estimate_form(
    calibration_files: Mapping[str, bytes],
    uploads: Mapping[str, Upload],
    options: Options,
    timestamps: Sequence[float] | None,
) -> Iterator[_Part]:
    for name, content in calibration_files.items():
        yield _Part("calibration", content, name)
    yield _options(options)
    times = _times_of_empty_ends(uploads, options) if timestamps is None else timestamps
    if times is not None:
        yield _Part("timestamps", json.dumps(list(times)).encode())
    for camera, upload in uploads.items():
        if isinstance(upload, Path | bytes):
            yield _Part("video", upload, f"{camera}.video", camera)
            continue
        for index, image in enumerate(upload):
            if image is not None:
                yield _Part("frame", image, f"{camera}/{index}.image", camera)


def _calibration_form(uploads: CalibrationUploads, options: CalibrationOptions) -> Iterator[_Part]:
    yield _options(options)
    if uploads.lenses is not None:
        yield _Part("calibration", write_calibration(uploads.lenses).encode(), "calibration.json")
    for field, videos in (("board", uploads.boards), ("video", uploads.videos)):
        for camera, video in videos.items():
            yield _Part(field, video, f"{camera}.video", camera)


def _options(options: Options | CalibrationOptions) -> _Part:
    given = {key: value for key, value in asdict(options).items() if value is not None}
    return _Part("options", json.dumps(given).encode())


def _times_of_empty_ends(uploads: Mapping[str, Upload], options: Options) -> list[float] | None:
    """The times that the server would give, if the first or last frame set has no image: the numbers of the images
    would not show such a frame set."""
    images = [upload for upload in uploads.values() if not isinstance(upload, Path | bytes) and upload]
    if images and any(all(upload[end] is None for upload in images) for end in (0, -1)):
        return [index / (options.fps or _FPS) for index in range(len(images[0]))]
    return None


async def _chunks(camera: str, upload: Path | bytes) -> AsyncIterator[bytes]:
    if isinstance(upload, bytes):
        for start in range(0, len(upload), _CHUNK_BYTES):
            yield upload[start : start + _CHUNK_BYTES]
        return
    try:
        with upload.open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise VideoError(f"cannot read {upload}: {error.strerror}", field="video", camera=camera) from None


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    """Lines of the answer; httpx's own would also break at characters that JSON strings may hold."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
    if rest:
        yield rest


def _part(record: dict[str, Any], skeleton: Skeleton | None) -> PoseHeader | Frame:
    """The header, when the skeleton is not known yet, or a frame."""
    try:
        return pose_json.frame_of(record, skeleton) if skeleton else pose_json.header_of(record)
    except InvalidInput as error:
        raise ValueError(error) from error


def _quoted(name: str) -> str:
    """A name within the quotes of a header, as browsers write it (WHATWG HTML, multipart/form-data)."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
