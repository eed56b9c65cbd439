"""The two wires of the client, peers behind one small base."""

from synpose.transports.base import ServedModel, Transport, Upload

__all__ = ["ServedModel", "Transport", "Upload"]
