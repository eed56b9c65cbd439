"""What a server does beside its requests."""

from __future__ import annotations

import asyncio
import ctypes
import sys
from types import SimpleNamespace
from typing import cast

import numpy as np
import psutil
import pytest

from synpose_server import upkeep as module
from synpose_server.engine import Engine
from synpose_server.upkeep import upkeep


def _glibc() -> bool:
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim")


@pytest.mark.skipif(not _glibc(), reason="only glibc's heaps keep what is free")
def test_free_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Holes in the heaps are the system's again, though something above them is still used."""
    monkeypatch.setattr(module, "_TRIM_SECONDS", 0.01)
    held = [np.ones(100_000, np.uint8) for _ in range(1000)]
    before = psutil.Process().memory_info().rss
    del held[:-1]

    async def run() -> None:
        beside = asyncio.create_task(
            upkeep(cast(Engine, SimpleNamespace(settings=SimpleNamespace(models_poll_seconds=0))))
        )
        async with asyncio.timeout(10):
            while psutil.Process().memory_info().rss > before - (80 << 20):
                await asyncio.sleep(0.01)
        beside.cancel()

    asyncio.run(run())
    assert len(held) == 1


def test_the_folder_of_models_is_looked_at() -> None:
    """As often as the settings say."""
    looked: list[float] = []

    async def watch(seconds: float) -> None:
        looked.append(seconds)

    engine = SimpleNamespace(settings=SimpleNamespace(models_poll_seconds=7), served=SimpleNamespace(watch=watch))

    async def run() -> None:
        beside = asyncio.create_task(upkeep(cast(Engine, engine)))
        await asyncio.sleep(0.01)
        beside.cancel()

    asyncio.run(run())
    assert looked == [7]
