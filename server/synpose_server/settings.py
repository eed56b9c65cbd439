"""What an operator may set: `SYNPOSE_…` in the environment, or the flags of `synpose serve`."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from synpose.errors import OptionsError
from synpose_server.cores import usable_cores

__all__ = ["Settings"]

MIB = 1024 * 1024

_PREFIX = "SYNPOSE_"
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")
_CLIENTS = "SYNPOSE_API_KEY"  # a client's, which may be in the same environment
_SERVICE = re.compile("SYNPOSE_(SERVICE_|PORT($|_))")  # set by Kubernetes in pods beside a service called synpose


class Settings(BaseSettings):
    """Read once, when it is made; an unknown flag or an unusable value is an error at start."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid", use_attribute_docstrings=True)

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on; `0.0.0.0` in the container."""
    http_port: int = Field(default=8000, ge=0, le=65535)
    """Port of HTTP; 0 for a free one."""
    grpc_port: int = Field(default=8001, ge=0, le=65535)
    """Port of gRPC; 0 for a free one."""
    models: Path | None = None
    """Folder of bundles; the bundles that come with the package when not set."""
    models_poll_seconds: float = Field(default=0.0, ge=0, le=86_400)
    """How often the folder of bundles is looked through for new ones; 0: never."""
    admin: bool = False
    """Whether models may be loaded and unloaded over HTTP; without API keys by everybody who reaches the port."""
    provider: str = "cpu"
    """Execution provider of ONNX Runtime (`cpu`, `cuda`, `tensorrt`, `openvino`); a missing one is an error."""
    threads: int = Field(default=0, ge=0)
    """Threads of a graph run; 0: as many as this process may use."""
    max_body_bytes: int = Field(default=1024 * MIB, ge=1)
    """Largest request body; four phones' minute in 1080p is about 500 MB."""
    max_pixels: int = Field(default=40_000_000, ge=1)
    """Largest image, checked before it is decoded."""
    max_frames: int = Field(default=216_000, ge=1)
    """Longest clip: an hour at 60 frames a second."""
    max_cameras: int = Field(default=16, ge=2, le=16)
    """Cameras that a request may send; its calibration may hold more."""
    max_uploads: int = Field(default=16, ge=1)
    """Requests whose body is being read, over both doors; one more is told that the server is busy."""
    upload_seconds: float = Field(default=60.0, gt=0, le=86_400)
    """How long an upload may pause before it is given up."""
    max_clips: int = Field(default=2, ge=1)
    """Clips computed at the same time; more wait for `queue_seconds`."""
    queue_seconds: float = Field(default=30.0, ge=0, le=86_400)
    """How long a request waits for its turn before it is told that the server is busy."""
    max_streams: int = Field(default=16, ge=1, le=1024)
    """Live streams at the same time; one whose connection broke gives way to a new one."""
    stream_idle_seconds: float = Field(default=30.0, gt=0, le=86_400)
    """How long a live stream may send nothing before it is ended."""
    stream_resume_seconds: float = Field(default=60.0, ge=0, le=86_400)
    """How long a live stream whose connection broke can be resumed."""
    stream_bytes: int = Field(default=64 * MIB, ge=1)
    """Encoded images that wait in one live stream."""
    max_calibrations: int = Field(default=256, ge=1)
    """Uploaded calibrations that are kept; the one that was not used for longest gives way."""
    max_connections: int = Field(default=1000, ge=1)
    """Connections of HTTP at a time; one more is closed at once."""
    keys: Path | None = None
    """File of API keys, made by `synpose keys`; everybody may do everything when not set."""
    tls_cert: Path | None = None
    """Certificate chain (PEM) of both doors, which then speak TLS only."""
    tls_key: Path | None = None
    """Private key (PEM) of `tls_cert`."""
    tls_client_ca: Path | None = None
    """Certificates (PEM) of those whose clients are let in; a client without a certificate is refused."""
    cors_origins: str | None = None
    """Origins of web pages that may use this server, separated by commas; only its own when not set."""
    drain_seconds: float = Field(default=30.0, ge=0, le=86_400)
    """How long running requests may go on after SIGTERM."""
    stall_seconds: float = Field(default=300.0, gt=0, le=86_400)
    """How long one image or graph run may take before liveness fails."""
    log_format: Literal["text", "json"] = "text"
    """Lines for a person, or one JSON object a line."""
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    """From which level on the log tells; `info` has a line for each request."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """Raise `OptionsError` for TLS that is only half set up, and for origins that are none."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise OptionsError("tls_cert and tls_key go together", field="tls_cert")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise OptionsError("tls_client_ca needs tls_cert and tls_key", field="tls_client_ca")
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise OptionsError(f"an origin looks like https://lab.example, not {origin!r}", field="cors_origins")
        return self

    replicas: int = Field(default=1, ge=1, le=10_000)
    """Replicas over Ray at any time; only with `--ray`."""
    max_replicas: int = Field(default=1, ge=1, le=10_000)
    """Replicas over Ray when more clips wait than are computed; not fewer than `replicas`."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, given: object) -> object:
        """Raise `OptionsError` for a variable that is meant to be a setting and is none; leaves `given` as it is."""
        known = [_PREFIX + name.upper() for name in cls.model_fields]
        for name in map(str.upper, os.environ):
            if name.startswith(_PREFIX) and name not in (*known, _CLIENTS) and not _SERVICE.match(name):
                near = difflib.get_close_matches(name, known, 1, 0.0)[0]
                raise OptionsError(f"there is no setting {name}; the nearest is {near}", field=name)
        return given

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of `cors_origins`."""
        return tuple(origin.strip() for origin in (self.cors_origins or "").split(",") if origin.strip())

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def graph_threads(self) -> int:
        """`threads`, or the cores this process may use."""
        return self.threads or usable_cores()
