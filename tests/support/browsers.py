"""A real browser, the one on the PATH."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.databases import missing

_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage")


@contextmanager
def a_browser() -> Iterator[Any]:
    """Run one; where there is none, the test is skipped, or fails if nothing may be missing."""
    from playwright.sync_api import sync_playwright

    if not (chromium := shutil.which("chromium") or shutil.which("chromium-browser")):
        missing("chromium", "there is no chromium on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*_FLAGS])
        try:
            yield browser
        finally:
            browser.close()
