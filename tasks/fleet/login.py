"""Logging in as a client, with its certificate, to prove what the chain is worth."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from rechain.certificate import read_certificates
from rechain.errors import PemError
from rechain.fleet import Endpoint, ServiceKind
from rechain.login import Answer, ClientFiles, Login, Refusal, Verdict
from tasks.fleet.libpq import attempt
from tasks.fleet.wire import WireUnreadable, served, why_refused


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """One login to try.

    Attributes:
        endpoint: Where.
        client: The role.
        generation: Generation of the material; None for files that are on a host as they are.
        files: Its files; None when its key is not ours.
    """

    endpoint: Endpoint
    client: str
    generation: int | None
    files: ClientFiles | None


def log_in(
    endpoint: Endpoint,
    *,
    client: str,
    generation: int | None,
    files: ClientFiles,
    database: str = "postgres",
    timeout_s: float = 5.0,
    fingerprint: str | None = None,
) -> Login:
    """Log in once as libpq does, with `sslmode=verify-full`, and say what it proves.

    Side effect: one short session named `rechain` on the server. Idempotent, safe to retry. Never raises for what
    the server or the files are like: that is the verdict.

    Args:
        endpoint: Where; its name is verified, its address is connected to.
        client: The role, which is the certificate's CN.
        generation: Generation of the client's material; None for files that are on a host as they are.
        files: The client's files.
        database: Database to log in to.
        timeout_s: Limit for everything, a port that accepts and says nothing included.
        fingerprint: What the endpoint serves, when the caller has seen it already.
    """
    started = time.monotonic()
    answer = attempt(endpoint, client, files, database, timeout_s)
    ms = round((time.monotonic() - started) * 1000)
    answer = _with_reason(answer, endpoint, files, timeout_s)
    if fingerprint is None and answer.verdict is not Verdict.UNREACHABLE:
        fingerprint = served_fingerprint(endpoint, timeout_s)
    return Login(
        endpoint=endpoint,
        client=client,
        generation=generation,
        verdict=answer.verdict,
        refusal=answer.refusal,
        error=answer.error,
        server_fingerprint=fingerprint,
        client_serial=_serial(files),
        ms=ms,
    )


def log_in_all(
    requests: Sequence[LoginRequest], *, database: str = "postgres", timeout_s: float = 5.0, concurrency: int = 8
) -> tuple[Login, ...]:
    """Try every login, several at a time; looks at each endpoint's certificate once.

    Returns:
        One login a request, in the order of the requests.
    """
    with ThreadPoolExecutor(max_workers=concurrency) as pool:
        fingerprints = _fingerprints(pool, (request.endpoint for request in requests), timeout_s)

        def one(request: LoginRequest) -> Login:
            return _log_in_or_not(request, fingerprints[request.endpoint], database, timeout_s)

        return tuple(pool.map(one, requests))


def served_fingerprint(endpoint: Endpoint, timeout_s: float, kind: ServiceKind = ServiceKind.POSTGRESQL) -> str | None:
    """Fingerprint of the leaf that an endpoint serves; None when it can't be seen."""
    try:
        return served(endpoint, timeout_s, kind)[0].fingerprint
    except WireUnreadable:
        return None


def _fingerprints(
    pool: ThreadPoolExecutor, endpoints: Iterable[Endpoint], timeout_s: float
) -> Mapping[Endpoint, str | None]:
    distinct = tuple(dict.fromkeys(endpoints))
    return dict(zip(distinct, pool.map(lambda each: served_fingerprint(each, timeout_s), distinct), strict=True))


def _log_in_or_not(request: LoginRequest, fingerprint: str | None, database: str, timeout_s: float) -> Login:
    if request.files is None:
        return _not_tested(request, fingerprint)
    return log_in(
        request.endpoint,
        client=request.client,
        generation=request.generation,
        files=request.files,
        database=database,
        timeout_s=timeout_s,
        fingerprint=fingerprint,
    )


def _not_tested(request: LoginRequest, fingerprint: str | None) -> Login:
    told = "its key is not in the vault"
    return Login(
        request.endpoint, request.client, request.generation, Verdict.NOT_TESTED, None, told, fingerprint, None, 0
    )


def _with_reason(answer: Answer, endpoint: Endpoint, files: ClientFiles, timeout_s: float) -> Answer:
    """Find the reason in OpenSSL's words: libpq does not say why it refuses a certificate."""
    if answer.refusal is not Refusal.SERVER_CERTIFICATE or "verify failed" not in (answer.error or ""):
        return answer
    reason = why_refused(endpoint, files.ca, timeout_s)
    return replace(answer, error=f"{answer.error}: {reason}") if reason else answer


def _serial(files: ClientFiles) -> str | None:
    try:
        return f"{read_certificates(Path(files.cert).read_text('ascii', 'replace'), files.cert)[0].serial:x}"
    except (OSError, PemError):
        return None
