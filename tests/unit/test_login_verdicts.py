"""The verdict in libpq's words. The real servers' words are judged in tests/integration/test_login.py."""

from __future__ import annotations

import pytest

from rechain.fleet import Endpoint
from rechain.login import Login, LoginCount, Refusal, Verdict, as_json, count, explain

_SERVER = 'connection to server at "10.0.0.1", port 5432 failed: '


def _login(verdict: Verdict, error: str | None = None) -> Login:
    endpoint = Endpoint("db1", "db1.example", "10.0.0.1", 5432)
    return Login(endpoint, "app", 2, verdict, None, error, "ab12", "1f", 7)


@pytest.mark.parametrize(
    "said",
    [
        "FATAL:  Rolle »minio« existiert nicht",
        'ВАЖНО:  роль "minio" не существует',
        '致命错误:  角色 "minio" 不存在',
    ],
)
def test_a_server_may_speak_any_language(said: str) -> None:
    """What a server says through TLS means that the certificate passed, whatever its lc_messages."""
    answer = explain(_SERVER + said, encrypted=True)
    assert (answer.verdict, answer.error) == (Verdict.CERTIFICATE_ACCEPTED, said)


@pytest.mark.parametrize(
    "said",
    [
        "FATAL:  the database system is starting up",
        "FATAL:  the database system is shutting down",
        "FATAL:  the database system is in recovery mode",
        "FATAL:  the database system is not yet accepting connections",
        "FATAL:  terminating connection due to administrator command",
    ],
)
def test_a_server_that_comes_or_goes_is_unreachable(said: str) -> None:
    """It says so through TLS, yet a failover is no verdict on certificates."""
    assert explain(_SERVER + said, encrypted=True).verdict is Verdict.UNREACHABLE


def test_what_is_said_before_tls_proves_nothing() -> None:
    """A server that is too full to start TLS has accepted no certificate."""
    said = _SERVER + "FATAL:  sorry, too many clients already"
    assert explain(said, encrypted=False).verdict is Verdict.UNREACHABLE
    assert explain(said, encrypted=True).verdict is Verdict.CERTIFICATE_ACCEPTED


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        ("SSL error: tlsv1 alert unknown ca", Refusal.UNKNOWN_CLIENT_CA),
        ("SSL error: sslv3 alert certificate expired", Refusal.CLIENT_CERTIFICATE),
        ("SSL error: ssl/tls alert certificate revoked", Refusal.REVOKED),
        ("SSL error: tlsv13 alert certificate required", Refusal.CLIENT_CERTIFICATE),
        ("FATAL:  connection requires a valid client certificate", Refusal.CLIENT_CERTIFICATE),
        ("SSL error: tlsv1 alert protocol version", Refusal.HANDSHAKE),
        ("SSL error: sslv3 alert handshake failure", Refusal.HANDSHAKE),
        ("SSL error: unsupported protocol", Refusal.HANDSHAKE),
        ("SSL error: certificate verify failed", Refusal.SERVER_CERTIFICATE),
        ("received invalid response to SSL negotiation: H", Refusal.HANDSHAKE),
    ],
)
def test_who_refused_whom(said: str, refusal: Refusal) -> None:
    """An unknown CA is told from a date or a purpose, and the server's side from the client's."""
    answer = explain(_SERVER + said, encrypted=True)
    assert (answer.verdict, answer.refusal) == (Verdict.REFUSED, refusal)


@pytest.mark.parametrize(
    "said",
    [
        "SSL SYSCALL error: Connection reset by peer",
        "SSL SYSCALL error: EOF detected",
        "SSL error: unexpected eof while reading",
        "server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally",
        "Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?",
        "",
    ],
)
def test_a_line_that_broke_is_unreachable(said: str) -> None:
    """Nobody refused anything: it may be a failover. The message is one line."""
    answer = explain(_SERVER + said, encrypted=True)
    assert answer.verdict is Verdict.UNREACHABLE
    assert answer.error
    assert "\n" not in answer.error


def test_logins_are_counted() -> None:
    """An accepted certificate has not failed, and what was not tested was not tried."""
    assert count(map(_login, Verdict)) == LoginCount(attempted=4, failed=2)


def test_the_row_of_a_login_is_the_contract() -> None:
    """Scripts read these names."""
    assert as_json(_login(Verdict.REFUSED, "told")) == {
        "endpoint": "db1.example:5432",
        "client": "app",
        "generation": 2,
        "verdict": "refused",
        "error": "told",
        "server_fingerprint": "ab12",
        "client_serial": "1f",
    }
