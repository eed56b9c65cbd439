"""Live streams: images as cameras take them in, poses as they are computed out; the same behind every door."""

from synpose_server.live.connection import converse
from synpose_server.live.sessions import Sessions

__all__ = ["Sessions", "converse"]
