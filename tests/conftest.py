"""Fixtures that every room of tests shares."""
