"""Serial numbers of an outside CA that counts, beside those of another one that does."""

from __future__ import annotations

from dataclasses import replace

from rechain.certificate import Certificate
from rechain.generation import Side
from rechain.returned import Returned, same_serials
from rechain.signing_request import Wanted
from tests.chains import make, make_chain

PRESENT = make_chain(1, ["pg1"], ["postgres"]).generation
HELD = PRESENT.clients["postgres"].leaf
SERVED = PRESENT.servers["pg1"].leaf


def _told(wanted: Wanted, certificate: Certificate) -> list[str]:
    return [problem.what for problem in same_serials({wanted: Returned(certificate, ())}, PRESENT)]


def test_a_client_s_new_certificate_has_a_serial_of_its_own() -> None:
    """PostgreSQL shows the serial of a session's certificate and nothing else that tells the two apart."""
    role, fresh = Wanted(Side.CLIENT, "postgres"), make("postgres").certificate
    (told,) = _told(role, replace(fresh, serial=HELD.serial))
    assert f"{HELD.serial:x}" in told
    assert _told(role, fresh) == []


def test_who_is_not_told_apart_by_it_may_have_any() -> None:
    """A server, a client that is new, and one that gets its present certificate again."""
    assert _told(Wanted(Side.SERVER, "pg1"), replace(make("pg1").certificate, serial=SERVED.serial)) == []
    assert _told(Wanted(Side.CLIENT, "new"), replace(make("new").certificate, serial=HELD.serial)) == []
    assert _told(Wanted(Side.CLIENT, "postgres"), HELD) == []
