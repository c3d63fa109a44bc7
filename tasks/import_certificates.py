"""Take certificates of an outside CA back, and make the next generation of them; nothing is deployed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rechain.addition import first_end
from rechain.assembly import Answered, assemble, own_key_types, refused_paths
from rechain.certificate import Certificate
from rechain.errors import ClaimRefused, InputError, RechainError, RepositoryError, TransitionRefused
from rechain.generation import Generation, Side
from rechain.issue import Issued
from rechain.returned import Found, Returned, judge, refuse, same_serials
from rechain.returned_file import read_returned
from rechain.rotation import Rotation
from rechain.signing_request import Requests, Wanted, names_of
from rechain.spec import ChainSpec
from tasks.access import leaf_keys
from tasks.first import refused_first
from tasks.fleet.inventory import read_fleet
from tasks.fleet.openssl import OpensslJudge
from tasks.keys import generate_keys
from tasks.next_generation import keep_current, record_next, write_next
from tasks.repository.catch_up import bring_up_to_date
from tasks.repository.claim import refuse_rivals, share
from tasks.repository.deployment import check_repository, write_first_certs
from tasks.repository.files import read_given
from tasks.repository.generation_yaml import outside_sides
from tasks.repository.generations import has_ca_keys, is_of_spec, known_generations, read_ca_keys, read_generation
from tasks.repository.intent import settle
from tasks.repository.lock import issuing
from tasks.repository.requests import read_request_keys, read_requests, remove_requests
from tasks.repository.rotation_yaml import read_rotation
from tasks.repository.spec_file import read_spec
from tasks.state import EnvironmentRef, now, observe
from tasks.step import step


@dataclass(frozen=True, slots=True)
class Imported:
    """What was made of returned certificates.

    Attributes:
        number: The generation.
        is_first: Whether it is the first one of an environment, which a roll-out brings to the hosts as it is.
        client_roots: Roots of an outside CA that servers will trust for logins.
        first_end: The certificate of it that ends first.
    """

    number: int
    is_first: bool
    client_roots: tuple[str, ...]
    first_end: Certificate


@step("import-certificates")
def import_certificates(ref: EnvironmentRef, files: Sequence[Path], *, take_over: bool = False) -> Imported:
    """Make the next generation of what an outside CA gave back for the requests that wait.

    Side effect: writes `rechain/ENV/generation-N` and records it; then the requests are gone. Idempotent: a run that
    died in between is completed by the next one. Safe to retry.

    Args:
        ref: Which environment.
        files: What came back, and the CA's own certificates: PEM, DER or PKCS#7, in any order.
        take_over: Take the claim of a run that is known to be dead.

    Raises:
        InputError: No requests wait, a file can't be read, the repository is not fit, or a rotation is under way.
        ImportRefused: Names everything that is wrong with the certificates.
    """
    with issuing(ref.root, ref.environment):
        bring_up_to_date(ref.root, ref.environment)
        refuse_rivals(ref.root, ref.environment, take_over=take_over, now=now())
        settle(ref.root, ref.environment)
        requests, rotation = read_requests(ref.root, ref.environment), read_rotation(ref.root, ref.environment)
        if requests is None:
            raise InputError(
                ref.environment, "no requests wait for an outside CA", f"make them: `rechain csr {ref.environment}`"
            )
        number = _recorded(ref, rotation, requests)
        if number is None:
            _refuse_rotating(ref, rotation)
            number = _import(ref, rotation, requests, files)
        _remove_answered(ref, number)
        _share(ref, number, take_over=take_over)
        return _told(ref, number, is_first=number == rotation.current or rotation.current is None)


def _remove_answered(ref: EnvironmentRef, number: int) -> None:
    """The generation is made: what keeps the requests from going is no refusal of the input any more."""
    try:
        remove_requests(ref.root, ref.environment)
    except (RepositoryError, OSError) as error:
        raise RechainError(
            _where(ref),
            f"generation {number} is issued, but the requests that it answers could not be removed: {error}",
            "see that the folder can be written, then run the same again",
        ) from None


def _share(ref: EnvironmentRef, number: int, *, take_over: bool) -> None:
    """Nobody can issue it again: other clones must know of it before one of them moves this environment."""
    try:
        message = f"{ref.environment}: import generation {number}"
        kept = share(ref.root, ref.environment, message, take_over=take_over, now=now())
    except (ClaimRefused, RepositoryError) as error:
        raise RechainError(
            error.where,
            f"generation {number} is issued here, but not shared: {error.what}",
            f"{error.fix}; then `rechain refresh {ref.environment}` shares it before it moves anything",
        ) from None
    if kept is not None:
        raise RechainError(
            ref.environment,
            f"generation {number} is issued and shared, but its claim could not be given back: {kept}",
            "others go on with --take-over",
        )


def _recorded(ref: EnvironmentRef, rotation: Rotation, requests: Requests) -> int | None:
    """The generation that a run which died before the requests were gone has recorded."""
    for number in filter(None, (rotation.next, rotation.current)):
        if _answers(read_generation(ref.root, ref.environment, number), requests):
            return number
    return None


def _answers(generation: Generation, requests: Requests) -> bool:
    """Whether a generation holds a certificate for each of the requests."""
    return all(
        key in {one.public_key for one in _candidates(generation, wanted)}
        for wanted, key in requests.public_keys.items()
    )


def _candidates(generation: Generation, wanted: Wanted) -> tuple[Certificate, ...]:
    if wanted.name is None:
        return generation.bundle(wanted.side).certificates
    leaves = generation.leaves(wanted.side)
    return (leaves[wanted.name].leaf,) if wanted.name in leaves else ()


def _refuse_rotating(ref: EnvironmentRef, rotation: Rotation) -> None:
    if rotation.is_first:
        raise refused_first(ref, rotation.current)
    if rotation.next is not None:
        raise TransitionRefused(
            ref.environment,
            f"generation {rotation.next} is not rolled out yet",
            f"finish it with `rechain refresh {ref.environment}`, or walk back with `rechain rollback`, then import",
        )


def _import(ref: EnvironmentRef, rotation: Rotation, requests: Requests, files: Sequence[Path]) -> int:
    spec = read_spec(ref.root, ref.environment)
    check_repository(ref.root, ref.environment, even_expired=True)
    read_fleet(ref.root, ref.environment, spec.clients, list(spec.servers))  # unreadable: found before anything is made
    returned = judge(spec, requests, _read(files), _where(ref), now())
    outside, number = _outside(ref, rotation, requests), rotation.last_generation + 1
    if requests.carries:
        _refuse_gained(ref, spec, requests)
    if rotation.current is None:
        write_next(ref, _issue(ref, rotation, spec, requests, returned), spec, outside)
        write_first_certs(ref.root, ref.environment, number)
        return number
    refuse(tuple(same_serials(returned, observe(ref, spec.clients).current)), _where(ref))
    if not _is_written(ref, number, spec, returned):
        issued = _issue(ref, rotation, spec, requests, returned)  # its paths are judged here: before anything is kept
        keep_current(ref, rotation)
        write_next(ref, issued, spec, outside)
    keep_current(ref, rotation)
    record_next(ref, number)
    return number


def _refuse_gained(ref: EnvironmentRef, spec: ChainSpec, requests: Requests) -> None:
    """Requests for a few leaves carry all others over: a name that is new in the spec has nothing to be carried."""
    current = observe(ref, spec.clients).current
    asked = {(wanted.side, wanted.name) for wanted in requests.public_keys}
    gained = [
        f"{side} {name}"
        for side in Side
        for name in names_of(spec, side)
        if name not in current.leaves(side) and (side, name) not in asked
    ]
    if gained:
        raise InputError(
            ref.environment,
            f"the chain spec has gained {', '.join(gained)} since the requests were made",
            f"drop these with `rechain csr {ref.environment} --discard` and ask for all, or take it out of the spec",
        )


def _where(ref: EnvironmentRef) -> str:
    return f"rechain/{ref.environment}/requests"


def _read(files: Sequence[Path]) -> tuple[Found, ...]:
    return tuple(Found(certificate, str(file)) for file in files for certificate in _read_one(file))


def _read_one(file: Path) -> tuple[Certificate, ...]:
    return read_returned(read_given(file), str(file))


def _outside(ref: EnvironmentRef, rotation: Rotation, requests: Requests) -> tuple[Side, ...]:
    kept = outside_sides(ref.root, ref.environment, rotation.current) if requests.carries and rotation.current else ()
    return tuple(side for side in Side if side in requests.sides or side in kept)


def _is_written(ref: EnvironmentRef, number: int, spec: ChainSpec, returned: Mapping[Wanted, Returned]) -> bool:
    """Whether a run that died before it recorded the generation has written it of the same certificates."""
    if number not in known_generations(ref.root, ref.environment):
        return False
    if not is_of_spec(ref.root, ref.environment, number, spec):
        return False
    generation = read_generation(ref.root, ref.environment, number)
    return all(one.certificate in _candidates(generation, wanted) for wanted, one in returned.items())


def _issue(
    ref: EnvironmentRef,
    rotation: Rotation,
    spec: ChainSpec,
    requests: Requests,
    returned: Mapping[Wanted, Returned],
) -> Issued:
    keys, ca_keys = read_request_keys(ref.root, ref.environment)
    carried = _present(ref, spec) if requests.carries else None
    answered = Answered(returned, keys, ca_keys, carried)
    own = generate_keys(own_key_types(spec, requests.public_keys, carries=requests.carries))
    issued = assemble(spec, rotation.last_generation + 1, answered, now=now(), keys=own)
    refuse(tuple(refused_paths(issued, requests.sides, OpensslJudge())), _where(ref))
    return issued


def _present(ref: EnvironmentRef, spec: ChainSpec) -> Issued:
    """The present generation with its keys, of which the next one keeps what was not asked for."""
    state = observe(ref, spec.clients)
    number = state.current.number
    ca_keys = read_ca_keys(ref.root, ref.environment, number) if has_ca_keys(ref.root, ref.environment, number) else {}
    return Issued(state.current, leaf_keys(state, state.current), ca_keys)


def _told(ref: EnvironmentRef, number: int, *, is_first: bool) -> Imported:
    generation = read_generation(ref.root, ref.environment, number)
    outside = Side.CLIENT in outside_sides(ref.root, ref.environment, number)
    roots = [one.subject for one in generation.client_bundle.certificates if one.is_self_issued] if outside else []
    return Imported(number, is_first, tuple(roots), first_end(generation))
