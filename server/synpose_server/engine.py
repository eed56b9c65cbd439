"""The engine behind every door: a rig and one source of images a camera in, frames of people out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from synpose.options import Options
from synpose.pose import Frame, PoseHeader
from synpose.rig import Rig
from synpose_server.settings import Settings
from synpose_server.sources import Source

__all__ = ["Engine", "Estimation", "ServedModel"]


@dataclass(frozen=True)
class ServedModel:
    """One line of `GET /v1/models`."""

    name: str
    version: str
    description: str
    skeletons: tuple[str, ...]
    is_default: bool


class Estimation(Iterator[Frame]):
    """A running estimate: `header` is known at once, frames come as they are computed; close it when done."""

    header: PoseHeader

    def __next__(self) -> Frame:
        raise NotImplementedError

    def close(self) -> None:
        """Stop decoding and free the place; safe to call twice, and from another thread."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Engine:
    """Loaded models and the road from sources to frames. Thread-safe; its calls block, so doors run them in threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @property
    def models(self) -> tuple[ServedModel, ...]:
        raise NotImplementedError

    def estimate(
        self,
        rig: Rig,
        sources: Mapping[str, Source],
        options: Options,
        timestamps: Sequence[float] | None = None,
    ) -> Estimation:
        """Start an estimate; raises from `synpose.errors` for input that cannot be used, naming field and camera.

        `timestamps` are the capture times of the frame sets in seconds, where the request gives them.
        """
        raise NotImplementedError
