"""Telling people in Slack: once, where they look, and never at the cost of what is being told about."""
