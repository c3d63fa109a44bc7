"""Prefect's own UI, as a person uses it: the form of a deployment, the page of a run, the form at a gate."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from tests.slack_picture import slack_page

PICTURES = Path(os.environ.get("RECHAIN_PICTURES") or Path(__file__).parents[1] / "build" / "pictures")
"""Where pictures are kept; `make pictures` puts them into the documentation."""
_PATIENCE_MS = 120_000
_TRIES = 4


_NOTICES_ASIDE = """
document.addEventListener("DOMContentLoaded", () => {
    const style = document.createElement("style")
    style.textContent = "#prefect-design-toast-app, #prefect-design-toast-app * { pointer-events: none }"
    document.head.append(style)
})
"""
"""A busy server makes the UI pop up a notice over the button that is to be pressed; a person presses beside it."""


class PrefectUi:
    """A person in front of a browser; what they look at is kept as pictures."""

    def __init__(self, page: Page, address: str) -> None:
        page.set_default_timeout(_PATIENCE_MS)
        page.add_init_script(_NOTICES_ASIDE)
        self._page, self._address = page, address

    def start(self, deployment: str, environment: str) -> None:
        """Fill the form of a deployment, its "plan only" switched off, and submit it."""
        self._page.goto(f"{self._address}/deployments/deployment/{deployment}/run", wait_until="networkidle")
        form = self._page.locator("form")
        self._choose(form, "environment", environment)
        switch = self._field(form, "plan_only").get_by_role("switch")
        assert switch.get_attribute("aria-checked") == "true", "a refresh plans unless somebody says otherwise"
        switch.click()
        self.keep("run-form")
        for _ in range(_TRIES):  # once no run came of it; a run too many is for the test to find
            form.get_by_role("button", name="Submit").click()
            try:
                self._page.wait_for_url(re.compile(r"tab=Runs"), timeout=_PATIENCE_MS / _TRIES)  # the new run is there
            except PlaywrightTimeoutError:
                continue
            return
        raise AssertionError("the form was not accepted")

    def answer(self, run: str, decision: str) -> str:
        """Answer the form of a run that waits; the evidence that it shows."""
        self.look_at(run)
        self._page.get_by_role("button", name="Resume").click()
        modal = self._page.locator(".p-modal__card")
        evidence = modal.locator(".p-modal__body").inner_text()
        self._choose(modal, "decision", decision)
        self._field(modal, "who").locator("textarea, input").fill("a.dba")
        self._field(modal, "reason").locator("textarea, input").fill("its owner says so")
        self.keep("gate-form")
        modal.get_by_role("button", name="Submit").click()
        modal.wait_for(state="hidden")
        return evidence

    def look_at(self, run: str) -> None:
        """Open a run's page."""
        self._page.goto(f"{self._address}/runs/flow-run/{run}", wait_until="networkidle")

    def turn_to(self, tab: str) -> None:
        """Open a tab of the page."""
        self._page.locator(".p-tab", has_text=tab).click()

    def shows(self, text: str) -> None:
        """Wait until the page shows a text."""
        self._page.get_by_text(text).first.wait_for()

    def keep_message(self, message: Mapping[str, Any]) -> None:
        """Keep a picture of a message in Slack."""
        self._page.set_content(slack_page(message))
        self._page.locator("main").screenshot(path=PICTURES / "slack-message.png")

    def keep(self, name: str) -> None:
        """Keep a picture of the page."""
        self._page.wait_for_timeout(500)  # the UI moves things into place
        self._page.screenshot(path=PICTURES / f"{name}.png", full_page=True)

    def _choose(self, form: Locator, name: str, value: str) -> None:
        self._field(form, name).locator(".p-select-button__control").focus()
        self._page.keyboard.press("Space")
        self._page.locator(".p-select-option", has_text=re.compile(rf"^\s*{value}\s*$")).click()

    def _field(self, form: Locator, name: str) -> Locator:
        title = self._page.get_by_text(re.compile(rf"^\s*{name}( \(Optional\))?\s*$", re.IGNORECASE))
        return form.locator(".schema-form-property", has=title)
