"""The page of a scan, opened in headless Chromium: no complaint on its console, readable in light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page

from rechain.scan.page import page as page_of
from rechain.scan.report import Scanned
from rechain.scan.seen import Blind, Listener, Served, Source
from tests.prefect_ui import PICTURES
from tests.scans import CLIENT, ENDPOINT, SERVER, authority, scanned, sound

_READABLE = 4.5  # WCAG 2.2, 1.4.3: contrast of text to its background
_CONTRASTS = """() => {
  const light = colour => {
    const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255)
      .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll('body, body *:not(style, title)')]
    .filter(one => [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim()))
    .map(one => {
      const style = getComputedStyle(one), ink = light(one.ownerSVGElement ? style.fill : style.color);
      return [one.outerHTML.slice(0, 80), (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05)];
    });
}"""


@dataclass
class Opened:
    """A page in the browser, with all that the browser had to say of it."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    asked_for: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def found() -> list[Scanned]:
    """One environment in which nearly everything is wrong, and one in which all is well."""
    ours = authority("x\"<script>alert(1)</script>'&")
    trouble = sound(
        ours, ours.server(SERVER, (-30, 3)), ours.client(CLIENT, days=(-30, 20)),
        served=(Served(Listener(ENDPOINT), (), "no answer within 5 s"),),
        blind=(Blind(Source.SESSIONS, "db1", "nobody can log in"),),
    )  # fmt: skip
    return [scanned(trouble), scanned(sound())]


@pytest.fixture(params=["light", "dark"])
def opened(request: pytest.FixtureRequest, browser: Browser, found: list[Scanned], tmp_path: Path) -> Iterator[Opened]:
    """The page, in one colour scheme after the other."""
    file = tmp_path / "scan.html"
    file.write_text(page_of(found), "utf-8")
    scheme: Literal["light", "dark"] = request.param
    with browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 900}) as context:
        one = Opened(context.new_page())
        one.page.on("console", lambda message: one.complaints.append(message.text))
        one.page.on("pageerror", lambda error: one.complaints.append(str(error)))
        one.page.on("requestfailed", lambda request: one.complaints.append(request.url))
        one.page.on("dialog", lambda dialog: one.complaints.append(dialog.message))
        one.page.on("request", lambda request: one.asked_for.append(request.url))
        one.page.goto(file.as_uri(), wait_until="networkidle")
        one.page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
        yield one


def test_the_console_stays_empty_and_nothing_is_fetched(opened: Opened) -> None:
    """No error, no warning, no script of a certificate's name, no request but for the page itself."""
    assert opened.complaints == []
    assert [url for url in opened.asked_for if not url.startswith("data:")] == [opened.page.url]
    opened.page.evaluate("console.error('planted')")
    assert opened.complaints == ["planted"]


def test_every_certificate_and_its_life_are_to_be_seen(opened: Opened, found: list[Scanned]) -> None:
    """A visible row each, and a timeline that is as wide as the page."""
    fingerprints = [row.certificate.fingerprint for one in found for row in one.rows]
    shown = opened.page.locator("tbody tr:visible code").all_inner_texts()
    assert shown == fingerprints
    for picture in opened.page.locator("svg").all():
        box = picture.bounding_box()
        assert box is not None
        assert box["width"] > 800
    assert opened.page.locator("svg").count() == len(found)


def test_a_fleet_that_is_to_be_refreshed(page: Page, tmp_path: Path) -> None:
    """Kept as a picture: what ends first, when logins fail, and every certificate's life on a line of its own."""
    acme = authority("Acme")
    file = tmp_path / "scan.html"
    file.write_text(
        page_of([scanned(sound(acme, acme.server(SERVER, (-340, 25)), acme.client(CLIENT, days=(-340, 25))))])
    )
    page.goto(file.as_uri(), wait_until="networkidle")
    assert page.locator("h1").inner_text() == "Certificates: WARNING"
    shown = page.locator("svg").first.text_content() or ""
    assert all(name in shown for name in (SERVER, CLIENT, "Acme servers", "Acme clients", "Acme root", "every login"))
    page.screenshot(path=PICTURES / "scan.png")


def test_all_text_is_readable(opened: Opened) -> None:
    """In both colour schemes, by the contrast that WCAG asks for; the paper is what differs."""
    contrasts: list[tuple[str, float]] = opened.page.evaluate(_CONTRASTS)
    assert len(contrasts) > 50
    assert [one for one in contrasts if one[1] < _READABLE] == []


def test_a_narrow_window_scrolls_tables_not_the_page(opened: Opened) -> None:
    """On a telephone at 3 a.m."""
    opened.page.set_viewport_size({"width": 390, "height": 800})
    sizes: Any = opened.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert sizes[0] <= sizes[1]
