"""Fixtures that every room of tests shares."""

pytest_plugins = [
    "tests.plugins.repository",
    "tests.plugins.lab",
    "tests.plugins.browser",
    "tests.plugins.desk",
    "tests.plugins.shifted_clock",
    "tests.plugins.slack_stub",
    "tests.plugins.slack_scans",
]
