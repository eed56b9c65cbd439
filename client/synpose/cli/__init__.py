"""The command `synpose`; one file a command, each of which loads what it needs only when it is called."""

from synpose.cli.main import main

__all__ = ["main"]
