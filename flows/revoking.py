"""`rechain revoke` and `rechain refresh-crls`: certificates that may no longer log in, before they end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows import terminal
from flows.options import HERE, Formatted, NonAtomic, Repo, TakeOver, Yes
from flows.terminal import Format
from rechain.errors import InputError

if TYPE_CHECKING:
    from rechain.revocation_report import RevocationReport


def revoke(
    env: str,
    client: str,
    *,
    reason: Annotated[str, Parameter(help="Why; kept in revoked.yml.")],
    generation: Annotated[int | None, Parameter(help="Only the certificate of this generation.")] = None,
    yes: Yes = False,
    take_over: TakeOver = False,
    accept_non_atomic: NonAtomic = False,
    repo: Repo = HERE,
    format: Formatted = Format.TABLE,
) -> int:
    """Make every server refuse a client's certificates, and prove that nobody else is disturbed."""
    from rechain.revocation_report import as_json

    terminal.confirm(f"Revoke the certificates of {client} in {env}? New logins with them will be refused.", yes=yes)
    terminal.prepare_prefect()
    from flows.revoke import revoke_certificate

    with terminal.progress():
        report = revoke_certificate(env, client, reason, str(repo.resolve()), generation, take_over, accept_non_atomic)
    terminal.show(as_json(report), format, lambda: _print(report))
    return 0


def refresh_crls(
    *envs: str,
    crl: Annotated[list[Path] | None, Parameter(help="A list of a CA whose key is not ours; repeatable.")] = None,
    take_over: TakeOver = False,
    accept_non_atomic: NonAtomic = False,
    repo: Repo = HERE,
) -> int:
    """Renew revocation lists that are due, and install them where servers read them; without ENV everywhere."""
    from tasks.repository.layout import environment_folder

    for env in envs:
        environment_folder(repo.resolve(), env)
    for file in crl or ():
        if not file.is_file():
            raise InputError(str(file), "there is no such file", "name a file of PEM revocation lists")
    terminal.prepare_prefect()
    from flows.refresh_crls import refresh_crls as flow

    with terminal.progress():
        done = flow(
            list(envs) or None,
            str(repo.resolve()),
            [file.resolve() for file in crl or ()],
            take_over,
            accept_non_atomic,
        )
    terminal.say(f"new lists in: {', '.join(done)}" if done else "nothing was due, and every list is in place")
    return 0


def _print(report: RevocationReport) -> None:
    for one in report.revoked:
        terminal.say(f"revoked: serial {one.serial:x} of {one.client}, generation {one.generation}: {one.reason}")
    terminal.say(f"{report.refused} logins with it were tried and refused; {report.logged_in} of others logged in")
    for serial in report.not_tested:
        terminal.say(f"not tested: the key of serial {serial} is not ours, so nobody could try it")
    for session in report.sessions:
        terminal.say(f"still open: {session}; a list ends no session, pg_terminate_backend does")
    failed = "none failed" if report.canary.failed == 0 else f"{report.canary.failed} failed"
    terminal.say(f"meanwhile {report.canary.attempted} logins of others were tried, {failed}")
