"""The HTTP door: REST in, the engine's answer out."""

from synpose_server.http.app import create_app

__all__ = ["create_app"]
