"""Headless Chromium: that of the machine, which the checks of continuous integration install, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

_CLOSED = [
    "--no-sandbox",  # it refuses to run as root with one
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of somebody who has never been here."""
    with browser.new_context(viewport={"width": 1280, "height": 1240}) as context:
        yield context.new_page()


@pytest.fixture(scope="module")  # Playwright keeps an event loop in this thread, which others would take for theirs
def browser() -> Iterator[Browser]:
    """Chromium without a window, which connects to nobody on its own."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no Chromium on this machine: `apt-get install chromium`")
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=program, args=_CLOSED) as started:
        yield started
