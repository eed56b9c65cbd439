"""A real Chromium, as a person's: Debian's or whatever `TEST_BROWSER` names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["chromium"]

_FLAGS = (
    "--no-sandbox",  # root has none to offer
    "--enable-unsafe-swiftshader",  # WebGL without a GPU
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream=device-count=2",
)


@contextmanager
def chromium(*more: str) -> Iterator[Browser]:
    """A headless browser with `more` flags; skips the test, naming what is missing, where there is none."""
    path = os.environ.get("TEST_BROWSER") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if path is None:
        pytest.skip("NO BROWSER, so the page is not tested: apt-get install chromium, or set TEST_BROWSER")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=(*_FLAGS, *more))
        try:
            yield browser
        finally:
            browser.close()
