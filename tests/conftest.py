"""Fixtures that every room of tests shares."""

pytest_plugins = ["tests.plugins.lab"]
