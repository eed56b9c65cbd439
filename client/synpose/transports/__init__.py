"""The two wires of the client, peers behind one small base."""

from synpose.transports.base import Transport, Upload

__all__ = ["Transport", "Upload"]
