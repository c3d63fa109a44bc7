"""The formats of a scan, read by parsers of their own."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from rechain.scan.case import Limits
from rechain.scan.incidents import incidents
from rechain.scan.markdown import forecast_markdown
from rechain.scan.nagios import nagios
from rechain.scan.page import page
from rechain.scan.prometheus import prometheus
from rechain.scan.report import Scanned, as_json
from rechain.scan.seen import Listener, Seen, Served
from rechain.scan.timeline import timeline
from tests.plugins.authority import Authority
from tests.scans import CLIENT, ENDPOINT, SERVER, authority, scanned, sound

_PLUGIN = re.compile(r"^RECHAIN (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+ \| (\S+ ?)+$")
_FIGURE = re.compile(r"^'?[^'=]+'?=-?\d+(;\S*)?$")
_HOSTILE = "x\"\\\n<script>|alert(1)</script>'&"


def _hostile() -> Seen:
    """An environment whose names want to be markup, and which can't all be seen."""
    ours = authority(_HOSTILE)
    seen = sound(ours, ours.server(SERVER, (-1, 10)), ours.client(CLIENT, days=(-1, 10)))
    silent = Served(Listener(ENDPOINT), (), _HOSTILE)
    return replace(seen, environment="acc'=|1", served=(silent,))


@pytest.fixture(params=["sound", "hostile"])
def one(request: pytest.FixtureRequest) -> Scanned:
    """A scan in which all is well, and one in which nothing is."""
    return scanned(sound() if request.param == "sound" else _hostile())


def test_a_plugins_line_is_one_line_with_figures(one: Scanned) -> None:
    """Status, text, a bar, and figures that every monitoring system can parse."""
    line = nagios([one], Limits())
    assert _PLUGIN.match(line), line
    assert all(_FIGURE.match(figure) for figure in line.split(" | ")[1].split())


def test_metrics_are_parsed_by_prometheus_own_reader(one: Scanned) -> None:
    """Every certificate and place is a series; names are those of x509-certificate-exporter."""
    families = {family.name: family for family in text_string_to_metric_families(prometheus([one]))}
    places = sum(len(row.places) for row in one.rows)
    for name in ("x509_cert_not_before", "x509_cert_not_after", "x509_cert_expired"):
        samples = families[name].samples
        assert len(samples) == places
        assert len({tuple(sorted(sample.labels.items())) for sample in samples}) == places
    ends = {sample.value for sample in families["x509_cert_not_after"].samples}
    assert ends == {row.certificate.not_after.timestamp() for row in one.rows}
    assert families["x509_read_errors"].samples[0].value == len(one.unreachable)


def test_json_and_yaml_hold_the_contract(one: Scanned) -> None:
    """The names that the reference lists, and one row for each certificate."""
    document = json.loads(json.dumps(as_json([one])))
    assert yaml.safe_load(yaml.safe_dump(as_json([one]))) == document
    assert document["schema"] == 1
    wanted = {
        *("source", "location", "role", "subject", "issuer", "serial", "sha256", "not_before", "not_after"),
        *("days_left", "status", "findings"),
    }
    assert all(wanted <= row.keys() for row in document["certificates"])
    assert len({row["sha256"] for row in document["certificates"]}) == len(one.rows)


class _Page(HTMLParser):
    """Collects tags and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]


def test_the_page_needs_nothing_from_elsewhere_and_runs_no_script(one: Scanned) -> None:
    """Whatever certificates are called, they are text; a row for each, a bar for each."""
    parsed = _Page()
    parsed.feed(page([one]))
    assert "script" not in parsed.tags
    assert all(address.startswith("data:") for address in parsed.addresses)
    assert parsed.tags.count("tr") == len(one.rows) + 1
    assert "prefers-color-scheme: dark" in page([one])


def test_the_timeline_is_an_image_of_its_own(one: Scanned) -> None:
    """Well formed, with a title for every certificate, and the forecast in words."""
    picture = ET.fromstring(timeline(one))  # noqa: S314  # our own text
    space = "{http://www.w3.org/2000/svg}"
    assert len(list(picture.iter(f"{space}title"))) == len(one.rows)
    assert one.forecast.sentence[:10] in str(picture.get("aria-label"))


def test_a_timeline_says_how_many_it_leaves_out() -> None:
    """A picture for a run's page shows the most urgent."""
    assert "and 3 more" in timeline(scanned(sound()), most=2)


def test_the_forecast_as_markdown_is_text(one: Scanned) -> None:
    """No name becomes markup."""
    assert "<script>" not in forecast_markdown([one])


def test_two_hundred_leaves_under_one_ca_are_one_incident() -> None:
    """Leaves and their CA end together: one cause, one message, the date on which all logins fail."""
    ours = Authority("ending", (-1, 20))
    leaves = [ours.server(f"db{number}.example", (-1, 20)) for number in range(200)]
    seen = sound(ours, ours.server(SERVER, (-1, 20)), ours.client(CLIENT, days=(-1, 20)))
    texts = tuple(
        replace(seen.texts[1], name=f"db{number}.example", certificates=(pair.value, ours.servers.value))
        for number, pair in enumerate(leaves)
    )
    found = incidents(scanned(replace(seen, texts=(*seen.texts, *texts))))
    assert len(found) == 1
    assert len(found[0].rows) == 205
    assert "every login fails" in found[0].breaks
    assert found[0].when is not None


def test_the_cause_of_an_incident_stays_when_it_gets_worse() -> None:
    """Else a warning would be resolved on the day that it becomes critical."""
    causes = {
        incidents(scanned(sound(client=authority().client(CLIENT, days=(-1 if days > 0 else -30, days)))))[0].cause
        for days in (20, 10, -1)
    }
    assert len(causes) == 1
