"""What an outside CA gives back: each thing that is wrong is named, with the fix, and all of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rechain.assembly import Answered, assemble, own_key_types, refused_paths
from rechain.certificate import Certificate, from_x509
from rechain.errors import ImportRefused
from rechain.generation import PrivateKeys, Side
from rechain.issue import PrivateKey
from rechain.returned import Found, Returned, judge
from rechain.signing_request import Made, Wanted, all_wanted, make_requests, request_key_types
from rechain.spec import ChainSpec
from rechain.usages import extended_key_usage, key_usage
from rechain.validity import MARGIN
from tests.chains import NOW
from tests.specs import parse, small

DB, ROLE = Wanted(Side.SERVER, "db1.example.com"), Wanted(Side.CLIENT, "postgres")
_BITS = ("digitalSignature", "keyEncipherment", "dataEncipherment")
_FILE = "returned.pem"


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA of the organisation's."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def value(self) -> Certificate:
        """Its certificate."""
        return from_x509(self.certificate)


@dataclass(frozen=True, slots=True)
class Signed:
    """How the organisation's CA fills in a certificate; what the request says does not bind it.

    Attributes:
        common_names: Every CN.
        names: DNS names and addresses of the SAN.
        bits: Key usages; None without the extension.
        purposes: Extended key usages; None without the extension.
        days: From when until when, days from now.
        is_ca: Whether it says CA:TRUE.
    """

    common_names: tuple[str, ...]
    names: tuple[str, ...] = ()
    bits: tuple[str, ...] | None = _BITS
    purposes: tuple[str, ...] | None = ("serverAuth",)
    days: tuple[float, float] = (-1, 300)
    is_ca: bool = False


SERVER = Signed(("db1.example.com",), ("db1.example.com", "192.0.2.1"))
CLIENT = Signed(("postgres",), purposes=("clientAuth",))


def sign(how: Signed, public_key: object, issuer: Authority | None, key: PrivateKey | None = None) -> x509.Certificate:
    """Sign a certificate; `key` signs when there is no issuer."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in how.common_names])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(public_key)  # type: ignore[arg-type]
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=how.days[0]))
        .not_valid_after(NOW + timedelta(days=how.days[1]))
        .add_extension(x509.BasicConstraints(how.is_ca, None), critical=True)
    )
    if how.bits is not None:
        builder = builder.add_extension(key_usage(how.bits), critical=True)
    if how.purposes is not None:
        builder = builder.add_extension(extended_key_usage(how.purposes), critical=False)
    if how.names:
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in how.names if name[0].isalpha()]
        names += [x509.IPAddress(ip_address(name)) for name in how.names if not name[0].isalpha()]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer.key if issuer else key, hashes.SHA256())  # type: ignore[arg-type]


def _authority(name: str, above: Authority | None = None, days: tuple[float, float] = (-1, 900)) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    how = Signed((name,), bits=("keyCertSign", "cRLSign"), purposes=None, days=days, is_ca=True)
    return Authority(sign(how, key.public_key(), above, key), key)


@dataclass(frozen=True, slots=True)
class Desk:
    """Requests that wait, and the CA that they were sent to."""

    spec: ChainSpec
    made: Made
    keys: Mapping[Wanted, PrivateKey]
    root: Authority
    issuing: Authority

    @property
    def chain(self) -> tuple[Certificate, ...]:
        """The CA's own certificates."""
        return (self.root.value, self.issuing.value)

    def certify(self, wanted: Wanted, how: Signed, issuer: Authority | None = None) -> Certificate:
        """Sign the key of a request."""
        return from_x509(sign(how, self.keys[wanted].public_key(), issuer or self.issuing))

    def judge(
        self, *certificates: Certificate, chain: Sequence[Certificate] | None = None
    ) -> Mapping[Wanted, Returned]:
        """Judge what came back."""
        found = [Found(one, _FILE) for one in (*certificates, *(self.chain if chain is None else chain))]
        return judge(self.spec, self.made.requests, found, "requests", NOW)

    def refused(self, *certificates: Certificate, chain: Sequence[Certificate] | None = None) -> ImportRefused:
        """Judge what must be refused."""
        with pytest.raises(ImportRefused) as caught:
            self.judge(*certificates, chain=chain)
        return caught.value


def _desk(sides: Sequence[Side] = tuple(Side), *, intermediates: bool = False) -> Desk:
    spec = parse(small(server={"servers": {"db1.example.com": ["192.0.2.1"]}}, key="ecdsa-p256"))
    wanted = all_wanted(spec, sides, (), intermediates=intermediates)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in request_key_types(spec, wanted)]
    made = make_requests(spec, wanted, 2, now=NOW, keys=keys, carries=False)
    root = _authority("organisation root")
    return Desk(spec, made, dict(zip(wanted, keys, strict=True)), root, _authority("organisation issuing", root))


@pytest.fixture(scope="module")
def desk() -> Desk:
    """A request for one server and one client."""
    return _desk()


@pytest.fixture(scope="module")
def good(desk: Desk) -> dict[Wanted, Certificate]:
    """What a CA should give back."""
    return {DB: desk.certify(DB, SERVER), ROLE: desk.certify(ROLE, CLIENT)}


def test_good_certificates_are_found_by_their_keys(desk: Desk, good: dict[Wanted, Certificate]) -> None:
    """In any order, some of them twice; the path ends in the root."""
    returned = desk.judge(good[ROLE], good[DB], good[ROLE])
    assert {wanted: one.certificate for wanted, one in returned.items()} == good
    assert {one.above for one in returned.values()} == {(desk.issuing.value, desk.root.value)}


@pytest.mark.parametrize(
    ("wanted", "how", "told"),
    [
        (ROLE, replace(CLIENT, common_names=("other",)), ("client postgres: its CN is other", "with CN postgres")),
        (ROLE, replace(CLIENT, common_names=()), ("client postgres: its CN is missing", "with CN postgres")),
        (ROLE, replace(CLIENT, common_names=("root", "postgres")), ("its CN is root and postgres", "no other")),
        (DB, replace(SERVER, common_names=("db2",)), ("server db1.example.com: its CN is db2", "CN db1.example.com")),
        (DB, replace(SERVER, names=("db1.example.com",)), ("subjectAltName lacks 192.0.2.1", "copy_extensions")),
        (DB, replace(SERVER, names=()), ("subjectAltName lacks db1.example.com, 192.0.2.1", "copy_extensions")),
        (ROLE, replace(CLIENT, purposes=("serverAuth",)), ("extendedKeyUsage lacks clientAuth", "extendedKeyUsage")),
        (ROLE, replace(CLIENT, purposes=None), ("extendedKeyUsage lacks clientAuth", "extendedKeyUsage")),
        (DB, replace(SERVER, purposes=("clientAuth",)), ("extendedKeyUsage lacks serverAuth", "extendedKeyUsage")),
        (DB, replace(SERVER, bits=_BITS[:2]), ("keyUsage lacks dataEncipherment", "ask for less in the chain spec")),
        (DB, replace(SERVER, bits=None), ("keyUsage lacks digitalSignature", "keyUsage")),
        (ROLE, replace(CLIENT, is_ca=True), ("is a CA certificate (CA:TRUE)", "CA:FALSE")),
        (DB, replace(SERVER, days=(-9, -1)), ("expired on ", "other dates")),
        (DB, replace(SERVER, days=(1, 300)), ("is not valid before ", "other dates")),
        (DB, replace(SERVER, days=(-1, MARGIN.days - 1)), ("within 7 days", "other dates")),
    ],
)
def test_what_is_wrong_with_a_certificate_is_named_with_its_fix(
    desk: Desk, good: dict[Wanted, Certificate], wanted: Wanted, how: Signed, told: tuple[str, str]
) -> None:
    """That one thing alone, in one line; the other certificate is not blamed."""
    error = desk.refused(*{**good, wanted: desk.certify(wanted, how)}.values())
    assert len(error.problems) == 1, error
    assert told[0] in str(error)
    assert told[1] in error.fix
    assert "\n" not in str(error)


@pytest.mark.parametrize("days", [MARGIN.days + 1, 300])
def test_a_week_is_enough(desk: Desk, good: dict[Wanted, Certificate], days: int) -> None:
    """The limit is that of a walk back, no longer."""
    assert desk.judge(good[ROLE], desk.certify(DB, replace(SERVER, days=(-1, days))))


def test_a_server_may_go_without_a_cn(desk: Desk, good: dict[Wanted, Certificate]) -> None:
    """Clients read the SAN alone, and some CAs write no CN any more."""
    assert desk.judge(good[ROLE], desk.certify(DB, replace(SERVER, common_names=())))


def test_a_wrong_key_is_told_from_both_ends(desk: Desk, good: dict[Wanted, Certificate]) -> None:
    """The stranger is named with its file, and the request that has no certificate with the likely reason."""
    stranger = from_x509(sign(SERVER, ec.generate_private_key(ec.SECP256R1()).public_key(), desk.issuing))
    text = str(desk.refused(good[ROLE], stranger))
    assert f"{_FILE}: the certificate of db1.example.com has the wrong key" in text
    assert (
        "server db1.example.com: there is no certificate of its key (the one in returned.pem has another key)" in text
    )


def test_two_certificates_of_one_key_are_not_chosen_from(desk: Desk, good: dict[Wanted, Certificate]) -> None:
    """A wrong batch and its correction in one folder: which one is meant is not guessed."""
    assert "there are 2 certificates of its key" in str(desk.refused(*good.values(), desk.certify(DB, SERVER)))


@pytest.mark.parametrize(
    ("kept", "missing"), [((), "organisation issuing"), ((1,), "organisation root"), ((0,), "organisation issuing")]
)
def test_an_incomplete_chain_says_whose_certificate_is_missing(
    desk: Desk, good: dict[Wanted, Certificate], kept: tuple[int, ...], missing: str
) -> None:
    """PostgreSQL and libpq accept no path that ends below a root."""
    error = desk.refused(*good.values(), chain=[desk.chain[each] for each in kept])
    assert f"the chain is incomplete, there is no certificate of its CA CN={missing}" in str(error)
    assert "self-signed root" in error.fix


def test_a_ca_that_ends_too_soon_is_named_once(desk: Desk) -> None:
    """Though every certificate below it is affected."""
    soon = _authority("organisation soon", desk.root, (-1, 3))
    below = [desk.certify(DB, SERVER, soon), desk.certify(ROLE, CLIENT, soon)]
    error = desk.refused(*below, chain=(*desk.chain, soon.value))
    assert [problem.about for problem in error.problems] == ["CA CN=organisation soon"]


def test_everything_that_is_wrong_is_told_at_once(desk: Desk) -> None:
    """One visit to the CA mends it all."""
    wrong = (
        desk.certify(DB, replace(SERVER, names=(), purposes=None)),
        desk.certify(ROLE, replace(CLIENT, days=(-9, -1))),
    )
    text = str(desk.refused(*wrong))
    assert all(part in text for part in ("3 refused", "subjectAltName", "extendedKeyUsage", "expired on"))


def test_names_that_the_spec_has_gained_since_are_refused(desk: Desk, good: dict[Wanted, Certificate]) -> None:
    """Otherwise the next generation would lack a client that the spec promises."""
    grown = replace(desk, spec=replace(desk.spec, clients=("postgres", "new")))
    assert "client new: is in the chain spec, and was not asked for" in str(grown.refused(*good.values()))


def test_a_path_that_a_peer_refuses_is_found_by_a_handshake(desk: Desk, good: dict[Wanted, Certificate]) -> None:
    """A CA that is meant for servers alone is above a client's leaf: every field of the leaf is right."""
    key = ec.generate_private_key(ec.SECP256R1())
    how = Signed(("for servers",), bits=("keyCertSign",), is_ca=True)
    narrow = Authority(sign(how, key.public_key(), desk.root), key)
    returned = desk.judge(good[DB], desk.certify(ROLE, CLIENT, narrow), chain=(*desk.chain, narrow.value))
    issued = assemble(desk.spec, 2, Answered(returned, desk.made.keys, {}), now=NOW, keys=())
    problems = list(refused_paths(issued, tuple(Side)))
    assert [problem.about for problem in problems] == ["client postgres"]
    assert "purpose" in problems[0].what


@pytest.mark.parametrize("side", Side)
def test_one_side_from_outside_beside_our_own_other_side(side: Side) -> None:
    """Both are accepted by their peers; the outside CA is in the bundle of its own side alone."""
    desk = _desk([side])
    wanted, how = (DB, SERVER) if side is Side.SERVER else (ROLE, CLIENT)
    returned = desk.judge(desk.certify(wanted, how))
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in own_key_types(desk.spec, [wanted], carries=False)]
    issued = assemble(desk.spec, 2, Answered(returned, desk.made.keys, {}), now=NOW, keys=keys)
    assert list(refused_paths(issued, tuple(Side))) == []
    other = Side.CLIENT if side is Side.SERVER else Side.SERVER
    assert issued.generation.bundle(side).certificates == (desk.issuing.value, desk.root.value)
    assert not issued.generation.bundle(other).fingerprints & issued.generation.bundle(side).fingerprints
    assert issued.ca_keys.keys() == {"root", other.value}


def test_an_intermediate_from_outside_signs_our_leaves() -> None:
    """Its key is ours; it need not carry a subject key identifier."""
    desk = _desk([Side.SERVER], intermediates=True)
    wanted = Wanted(Side.SERVER, None)
    how = Signed(("postgres server g2",), bits=("keyCertSign", "cRLSign"), purposes=None, is_ca=True)
    returned = desk.judge(desk.certify(wanted, how))
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in own_key_types(desk.spec, [wanted], carries=False)]
    answered = Answered(returned, PrivateKeys(), desk.made.ca_keys)
    issued = assemble(desk.spec, 2, answered, now=NOW, keys=keys)
    assert list(refused_paths(issued, tuple(Side))) == []
    presented = issued.generation.servers["db1.example.com"].intermediates
    assert [one.common_name for one in presented] == ["postgres server g2", "organisation issuing"]
    assert "is no CA certificate" in str(desk.refused(desk.certify(wanted, replace(how, is_ca=False))))
    assert "keyUsage lacks keyCertSign" in str(desk.refused(desk.certify(wanted, replace(how, bits=_BITS))))


def test_requests_say_what_the_spec_wants(desk: Desk) -> None:
    """Subject, names and usages; a CA that copies them gives back what is accepted."""
    request = x509.load_pem_x509_csr(desk.made.texts[DB].encode())
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(one.value) for one in names] == ["db1.example.com", "192.0.2.1"]
    assert request.extensions.get_extension_for_class(x509.KeyUsage).critical
    assert request.is_signature_valid
    role = x509.load_pem_x509_csr(desk.made.texts[ROLE].encode())
    assert [one.value for one in role.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["postgres"]
    assert "PRIVATE" not in repr(desk.made) + "".join(desk.made.texts.values())
