"""What is worth knowing before a strategy is started, whichever it is."""

from __future__ import annotations

from collections.abc import Iterator

from rechain.certs import ForeignCAs
from rechain.generation import Generation
from tasks.repository.settings import Settings
from tasks.repository.vault import has_own_ca_password


def about_settings(settings: Settings, foreign: ForeignCAs, *, is_trial: bool) -> Iterator[str]:
    """Notes on what is issued, kept and used.

    Args:
        settings: rechain.yml.
        foreign: CAs that stay in the bundles.
        is_trial: Whether what is planned with was issued for the plan only.
    """
    if is_trial:
        yield "the next generation is not issued yet: this is a trial, `rechain generate` makes the real one"
    for side, bundle in (("servers'", foreign.client), ("clients'", foreign.server)):
        for certificate in bundle.certificates:
            yield f"foreign CA in the {side} bundle is kept: {certificate.subject} ({certificate.fingerprint[:16]})"
    if not has_own_ca_password():
        yield "CA keys are vaulted with the ordinary password: set RECHAIN_CA_VAULT_PASSWORD_FILE to keep them apart"
    if settings.playbook:
        yield f"{settings.playbook.path} is used: pairs are not swapped atomically and nothing is restored"


def about_clients(current: Generation, following: Generation) -> Iterator[str]:
    """Clients that get no new certificate."""
    missing = sorted(set(current.clients) - set(following.clients))
    if missing:
        yield f"no certificate in the next generation for: {', '.join(missing)}; their logins end with phase retired"
