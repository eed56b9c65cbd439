"""A real Chromium, as a person's: Debian's or whatever `TEST_BROWSER` names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserType

__all__ = ["chromium", "launched"]

_FLAGS = (
    "--no-sandbox",  # root has none to offer
    "--enable-unsafe-swiftshader",  # WebGL without a GPU
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream=device-count=2",
)


@contextmanager
def chromium(*more: str) -> Iterator[Browser]:
    """A headless browser with `more` flags; skips the test, naming what is missing, where there is none."""
    _path()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, launched(playwright.chromium, *more) as browser:
        yield browser


@contextmanager
def launched(kind: BrowserType, *more: str) -> Iterator[Browser]:
    """One more browser of this kind, with `more` flags."""
    browser = kind.launch(executable_path=_path(), args=(*_FLAGS, *more))
    try:
        yield browser
    finally:
        browser.close()


def _path() -> str:
    path = os.environ.get("TEST_BROWSER") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if path is None:
        pytest.skip("NO BROWSER, so the page is not tested: apt-get install chromium, or set TEST_BROWSER")
    return path
