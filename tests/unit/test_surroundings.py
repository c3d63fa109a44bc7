"""A session of `make up` is nobody's work: what a person has set for their own stays out of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.surroundings import MARK, of_a_session, of_a_worker, of_the_server


def test_a_person_s_own_server_repository_and_slack_stay_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the demo's fleet would be told of in the team's Slack, or its flows deployed on the team's server."""
    own = ("PREFECT_API_KEY", "PREFECT_API_URL", "RECHAIN_SLACK_WEBHOOK_FILE", "RECHAIN_REPO", MARK)
    for name in own:
        monkeypatch.setenv(name, "a person's")
    monkeypatch.setenv("ANSIBLE_TIMEOUT", "7")
    session = of_a_session(Path("/state"), 4321, "rechain:secret")
    worker = of_a_worker(session, {"RECHAIN_REPO": "/state/lab/repo"}, Path("/state"))
    assert "a person's" not in {*session.values(), *worker.values(), *of_the_server(session).values()}
    assert session["PREFECT_API_URL"] == "http://127.0.0.1:4321/api"
    assert session["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4321"
    assert session["PREFECT_SERVER_API_AUTH_STRING"] == session["PREFECT_API_AUTH_STRING"] == "rechain:secret"
    assert (session["ANSIBLE_TIMEOUT"], worker["RECHAIN_REPO"]) == ("7", "/state/lab/repo")
