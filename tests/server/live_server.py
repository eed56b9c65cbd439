"""A real uvicorn server on a real port, in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from synpose_server.bridge import Bridge
from synpose_server.engine import Engine
from synpose_server.http import create_app
from synpose_server.http.connections import bounded

__all__ = ["serve"]


@contextmanager
def serve(engine: Engine) -> Iterator[str]:
    """The URL of the HTTP door of `engine`."""
    bridge = Bridge(engine)
    app = create_app(bridge)
    http = bounded(engine.settings.max_connections)
    config = uvicorn.Config(app, port=0, loop="uvloop", http=http, log_config=None, ws="websockets-sansio")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.005)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive(), "the server did not stop"
        bridge.close()
