"""Fixtures that every room of tests shares."""

import pytest
from hypothesis import settings

settings.register_profile("here", deadline=None)  # how fast a busy machine is says nothing about an example
settings.load_profile("here")

pytest_plugins = [
    "tests.plugins.repository",
    "tests.plugins.lab",
    "tests.plugins.browser",
    "tests.plugins.desk",
    "tests.plugins.site",
    "tests.plugins.team",
    "tests.plugins.delivered",
    "tests.plugins.shifted_clock",
    "tests.plugins.slack_stub",
    "tests.plugins.production",
    "tests.plugins.closed_network",
    "tests.plugins.slack_scans",
]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is left with it at the end; else the order stays random."""
    items.sort(key=lambda item: "e2e" not in item.path.parts)
