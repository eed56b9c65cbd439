"""The whole server in one process: HTTP (uvicorn) and gRPC (grpc.aio) on one event loop, before one engine."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
import uvloop

from synpose.errors import ServerError
from synpose.wire import MAX_MESSAGE_BYTES
from synpose_server.auth import Gate
from synpose_server.bridge import Bridge
from synpose_server.engine import Engine
from synpose_server.grpc import GrpcServer
from synpose_server.http import create_app
from synpose_server.http.connections import bounded
from synpose_server.settings import Settings
from synpose_server.upkeep import upkeep

__all__ = ["run", "serve"]

_GRACE_SECONDS = 5  # for answers that are on their way
_SWITCH_SECONDS = 0.001  # that threads which compute in Python keep the loop waiting, a fifth of Python's own
_EXPOSED = (
    "EVERYBODY who can reach %s may use this server, as no API keys are set. Make some with `synpose keys add NAME"
    " --file keys.json` and serve with --keys keys.json, or listen on 127.0.0.1."
)

log = logging.getLogger(__name__)


def run(settings: Settings, say: Callable[[str], object]) -> None:
    """Load the models, then `serve`; raises `SynposeError` if the server cannot start.

    The engine is made before a port is bound, which takes a second or two: a refused connection tells whoever asks
    meanwhile the same as a startup probe that says no, a model that cannot be loaded ends the process with a line that
    says why, and a server that listens is a server that answers.
    """
    engine = Engine(settings)
    sys.setswitchinterval(_SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, engine, say))


async def serve(settings: Settings, engine: Engine, say: Callable[[str], object]) -> None:
    """Serve `engine` on both ports until SIGTERM or SIGINT, then let running requests finish for `drain_seconds`.

    Meanwhile the doors stay open: readiness fails and what comes is told to go elsewhere. What runs longer is broken
    off with an error that says so.

    `say` is told each address once something listens there. Raises `ServerError` for a port that cannot be bound,
    and when a door ends by itself.
    """
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):  # until the loop ends
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    with _listener(settings.host, settings.http_port, "--http-port") as listener:
        with _listener(settings.host, settings.grpc_port, "--grpc-port") as probe:  # gRPC would tell it in its log only
            probe.close()
        gate = Gate(settings.keys)
        if gate.open and not settings.is_local:
            log.warning(_EXPOSED, settings.host)
        bridge = Bridge(engine)
        bridge.lifecycle.started = False
        rpc = GrpcServer(bridge, gate)
        web = _HttpServer(
            uvicorn.Config(
                create_app(bridge, gate),
                loop="none",  # the one that runs
                http=bounded(settings.max_connections),
                ws="websockets-sansio",
                ws_max_size=MAX_MESSAGE_BYTES,
                ws_ping_timeout=None,  # a pong waits behind captures that are not read yet; silence ends a stream
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=_GRACE_SECONDS,
                **_tls(settings),
            )
        )
        beside = asyncio.create_task(upkeep(engine))
        try:
            grpc_port = await rpc.start()
            serving = asyncio.create_task(web.serve([listener]))
            bridge.lifecycle.started = True
            await rpc.tell_health()
            say(
                f"HTTP on http{'s' if settings.tls_cert else ''}://{_address(settings.host, listener.getsockname()[1])}"
            )
            say(f"gRPC on {_address(settings.host, grpc_port)}")
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                draining = asyncio.create_task(bridge.lifecycle.drain(settings.drain_seconds))
                await asyncio.sleep(0)  # it has begun
                bridge.live.drain()
                await rpc.tell_health()
                if not await draining:
                    log.warning("requests that took longer than drain_seconds were broken off")
            web.should_exit = True
            await asyncio.gather(serving, rpc.stop(_GRACE_SECONDS))
            if not stop.is_set():
                stopping.cancel()
                raise ServerError("HTTP has ended by itself; the log may say why")
        finally:
            beside.cancel()
            await asyncio.to_thread(bridge.close)


def _tls(settings: Settings) -> dict[str, Any]:
    """uvicorn's settings of TLS; raises `ServerError` for certificates that cannot be used."""
    if settings.tls_cert is None:
        return {}
    given = {
        "ssl_certfile": settings.tls_cert,
        "ssl_keyfile": settings.tls_key,
        "ssl_ca_certs": settings.tls_client_ca,
        "ssl_cert_reqs": ssl.CERT_REQUIRED if settings.tls_client_ca else ssl.CERT_NONE,
    }
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with _readable(f"tls_cert {settings.tls_cert} with tls_key {settings.tls_key}"):
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    if settings.tls_client_ca:
        with _readable(f"tls_client_ca {settings.tls_client_ca}"):
            context.load_verify_locations(settings.tls_client_ca)
    return given


@contextmanager
def _readable(what: str) -> Iterator[None]:
    try:
        yield
    except ssl.SSLError:
        raise ServerError(f"{what} cannot be used: they must be PEM files that belong together") from None
    except OSError as error:
        raise ServerError(f"{what} cannot be read: {error.strerror or error}") from None


class _HttpServer(uvicorn.Server):
    """A uvicorn that leaves the signals alone: they stop both doors."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listener(host: str, port: int, flag: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.getaddrinfo(host, port, family)
        return socket.create_server((host, port), family=family)
    except socket.gaierror as error:
        raise ServerError(f"cannot listen on {host!r}: {error.strerror}; choose another address with --host") from None
    except OSError as error:
        reason = error.strerror or "it cannot be used"
        raise ServerError(f"cannot listen on {_address(host, port)}: {reason}; choose another with {flag}") from None


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
