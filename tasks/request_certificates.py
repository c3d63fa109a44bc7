"""Ask an outside CA: make keys and signing requests; the keys stay, vaulted, until the certificates come back."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rechain.errors import ClaimRefused, InputError, RechainError, RepositoryError, TransitionRefused
from rechain.generation import Side
from rechain.rotation import Rotation
from rechain.signing_request import Requests, Wanted, all_wanted, make_requests, names_of, request_key_types
from rechain.spec import ChainSpec, digest
from tasks.fleet.inventory import read_fleet
from tasks.keys import generate_keys
from tasks.repository.catch_up import bring_up_to_date
from tasks.repository.claim import refuse_rivals, share
from tasks.repository.deployment import check_repository
from tasks.repository.files import rename_durably
from tasks.repository.generations import read_generation
from tasks.repository.intent import settle
from tasks.repository.layout import requests_folder
from tasks.repository.lock import issuing
from tasks.repository.requests import read_request_texts, read_requests, remove_requests, write_requests
from tasks.repository.rotation_yaml import read_rotation
from tasks.repository.spec_file import read_spec, spec_path
from tasks.state import EnvironmentRef, now
from tasks.step import step


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks for.

    Attributes:
        sides: Sides to ask for; those that have leaves when empty.
        names: Leaves to ask for, everything else stays as it is; all leaves of the sides when empty.
        intermediates: Whether to ask for the sides' intermediate CAs instead, and issue their leaves ourselves.
    """

    sides: tuple[Side, ...] = ()
    names: tuple[str, ...] = ()
    intermediates: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """Requests that wait now.

    Attributes:
        folder: Where they are.
        requests: What they ask for.
        archive: The archive that was written; None when none was asked for.
        is_new: Whether they were made just now.
    """

    folder: Path
    requests: Requests
    archive: Path | None
    is_new: bool


@step("request-certificates")
def request_certificates(
    ref: EnvironmentRef, asked: Asked, archive: Path | None = None, *, take_over: bool = False
) -> Waiting:
    """Make signing requests for an outside CA, once.

    Side effect: `rechain/ENV/requests`, and the archive. Idempotent: the same requests that wait already are left as
    they are, and others are never replaced. Safe to retry.

    Args:
        ref: Which environment.
        asked: What to ask for.
        archive: Where to write all requests as one archive, absolute; None for nowhere.
        take_over: Go on beside the claim of a run that is known to be dead.

    Raises:
        InputError: The repository is not fit, other requests wait, or the archive can't be written.
    """
    with issuing(ref.root, ref.environment):
        bring_up_to_date(ref.root, ref.environment)
        refuse_rivals(ref.root, ref.environment, take_over=take_over, now=now())
        settle(ref.root, ref.environment)
        spec = read_spec(ref.root, ref.environment)
        wanted = _wanted(ref, spec, asked)
        waiting = read_requests(ref.root, ref.environment)
        if waiting is not None:
            _refuse_others(ref, spec, wanted, asked, waiting)
        _refuse_target(archive)
        requests = waiting or _make(ref, spec, wanted, carries=bool(asked.names))
        if archive is not None:
            _write_archive(ref, archive, requests)
        return Waiting(requests_folder(ref.root, ref.environment), requests, archive, is_new=waiting is None)


@step("discard-requests")
def discard_requests(ref: EnvironmentRef, *, take_over: bool = False) -> Requests:
    """Drop the requests that wait, keys and all: certificates that come back for them are useless.

    Side effect: the folder of the requests is gone, as one step, on the remote's branch too where they were pushed.

    Raises:
        InputError: None wait.
        RechainError: They are dropped here, and could not be on the remote.
    """
    with issuing(ref.root, ref.environment):
        bring_up_to_date(ref.root, ref.environment)
        refuse_rivals(ref.root, ref.environment, take_over=take_over, now=now())
        waiting = read_requests(ref.root, ref.environment)
        if waiting is None:
            raise InputError(ref.environment, "no requests wait for an outside CA", "there is nothing to discard")
        remove_requests(ref.root, ref.environment)
        _share_discard(ref, take_over=take_over)
        return waiting


def _share_discard(ref: EnvironmentRef, *, take_over: bool) -> None:
    try:
        message = f"{ref.environment}: drop the requests"
        kept = share(ref.root, ref.environment, message, take_over=take_over, now=now())
    except (ClaimRefused, RepositoryError) as error:
        what = f"the requests are dropped here, but not on the remote: {error.what}"
        raise RechainError(error.where, what, error.fix) from None
    if kept is not None:
        what = f"the requests are dropped, but the claim could not be given back: {kept}"
        raise RechainError(ref.environment, what, "others go on with --take-over")


def _wanted(ref: EnvironmentRef, spec: ChainSpec, asked: Asked) -> tuple[Wanted, ...]:
    spec_file = str(spec_path(ref.root, ref.environment).relative_to(ref.root))
    sides = asked.sides or tuple(side for side in Side if names_of(spec, side))
    for side in sides:
        if not names_of(spec, side):
            raise InputError(
                spec_file, f"names no {side}s, so there is nothing to ask for", "add them, or leave --side"
            )
    known = {name for side in sides for name in names_of(spec, side)}
    for name in asked.names:
        if name not in known:
            raise InputError(
                spec_file, f"has no {' or '.join(sides)} {name!r}", "correct the name, or add it to the spec"
            )
    return all_wanted(spec, sides, asked.names, intermediates=asked.intermediates)


def _refuse_others(
    ref: EnvironmentRef, spec: ChainSpec, wanted: Sequence[Wanted], asked: Asked, waiting: Requests
) -> None:
    is_same = set(wanted) == set(waiting.public_keys) and waiting.carries == bool(asked.names)
    if is_same and waiting.spec_digest == digest(spec):
        return
    what = "the chain spec has changed since" if is_same else "they ask for something else"
    raise InputError(
        f"rechain/{ref.environment}/requests",
        f"{len(waiting.public_keys)} requests wait since {waiting.made_at:%Y-%m-%d}, and {what}",
        f"give what came back to `rechain import {ref.environment} FILE…`, which judges it by the spec as it is then, "
        f"or drop them: `rechain csr {ref.environment} --discard`",
    )


def _make(ref: EnvironmentRef, spec: ChainSpec, wanted: Sequence[Wanted], *, carries: bool) -> Requests:
    rotation = read_rotation(ref.root, ref.environment)
    _refuse_rotating(ref, rotation)
    check_repository(ref.root, ref.environment, even_expired=True)
    read_fleet(ref.root, ref.environment, spec.clients, list(spec.servers))  # unreadable: found before anything is made
    if carries:
        _refuse_unknown(ref, spec, wanted, rotation)
    keys = generate_keys(request_key_types(spec, wanted))
    made = make_requests(spec, wanted, rotation.last_generation + 1, now=now(), keys=keys, carries=carries)
    write_requests(ref.root, ref.environment, made)
    return made.requests


def _refuse_rotating(ref: EnvironmentRef, rotation: Rotation) -> None:
    if rotation.next is not None:
        raise TransitionRefused(
            ref.environment,
            f"generation {rotation.next} is not rolled out yet",
            f"finish it with `rechain refresh {ref.environment}`, or discard it with `rechain rollback` first",
        )


def _refuse_unknown(ref: EnvironmentRef, spec: ChainSpec, wanted: Sequence[Wanted], rotation: Rotation) -> None:
    """What is not asked for keeps its certificate, so it must have one."""
    current = read_generation(ref.root, ref.environment, rotation.current) if rotation.current else None
    for side in Side:
        known = current.leaves(side) if current else {}
        for name in names_of(spec, side):
            if name not in known and Wanted(side, name) not in wanted:
                raise InputError(
                    f"{side} {name}",
                    "has no certificate that it could keep, and none is asked for",
                    f"add --name {name}, or leave --name out and ask for all",
                )


def _refuse_target(archive: Path | None) -> None:
    """Before anything is made: a folder that can't be written is found by trying."""
    if archive is None:
        return
    if not archive.parent.is_dir():
        raise InputError(str(archive.parent), "is not a folder", "make it, or name another with --output")
    if archive.exists():
        raise InputError(str(archive), "exists already", "remove it, or name another folder with --output")
    try:
        _staged(archive).touch()
        _staged(archive).unlink()
    except OSError as error:
        fix = "name another folder with --output"
        raise InputError(str(archive), f"can't be written: {error.strerror}", fix) from None


def _write_archive(ref: EnvironmentRef, archive: Path, requests: Requests) -> None:
    content = _tar(ref.environment, read_request_texts(ref.root, ref.environment, requests), requests)
    try:
        _staged(archive).write_bytes(content)
        rename_durably(_staged(archive), archive)
    except OSError as error:
        _staged(archive).unlink(missing_ok=True)
        fix = "the requests are made: run the same command again with another --output"
        raise RechainError(str(archive), f"can't be written: {error.strerror}", fix) from None


def _staged(archive: Path) -> Path:
    return archive.with_name(f".{archive.name}.new")


def _tar(environment: str, texts: Mapping[str, str], requests: Requests) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in texts.items():
            entry = tarfile.TarInfo(f"{environment}-csrs/{name}")
            entry.size, entry.mtime = len(text.encode()), int(requests.made_at.timestamp())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()
