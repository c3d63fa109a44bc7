"""`csr` and `import` on a repository: what they write, and that bad input changes nothing, byte for byte."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rechain.errors import RechainError
from rechain.generation import Side
from tasks import import_certificates
from tasks.repository.generation_yaml import outside_sides
from tasks.repository.generations import known_generations, read_generation, restore_texts
from tasks.repository.rotation_yaml import read_rotation, write_rotation
from tasks.state import EnvironmentRef
from tests.environments import AT_REST, Environment, make_environment, tree
from tests.outside_ca import OutsideCa

_RECHAIN = Path(sys.executable).with_name("rechain")
_SPEC = """\
subject: {C: NL/postalCode=1261 WZ, O: Acme, CN: postgres}
key: ecdsa-p256
intermediates:
  - name: server
    servers: {pg1: [192.0.2.1], pg2: [192.0.2.2]}
  - name: client
    clients: [postgres, applicatie]
"""


def _run(environment: Environment, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(_RECHAIN), *arguments, "--repo", str(environment.root)],
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PREFECT_LOGGING_LEVEL": "CRITICAL"},
        check=False,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    assert "PRIVATE KEY" not in done.stdout + done.stderr
    return done


def _json(environment: Environment, *arguments: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_run(environment, *arguments, "--format", "json").stdout)
    return content


def _refused(environment: Environment, *arguments: str) -> str:
    """Exit 2, one line, and every file as before."""
    before = tree(environment.root)
    done = _run(environment, *arguments, expect=2)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert tree(environment.root) == before
    return done.stderr


def _requests(environment: Environment) -> list[Path]:
    return sorted((environment.state / "requests").glob("*.csr"))


@pytest.fixture
def acc(environment: Environment) -> Environment:
    """An adopted environment with a spec that is quick to issue."""
    _write_spec(environment)
    return environment


@pytest.fixture(scope="module")
def resting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """The same, for tests that change nothing of it."""
    with _kept(tmp_path_factory.mktemp("resting")) as environment:
        yield environment


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """One whose server requests wait, for tests that change nothing of it."""
    with _kept(tmp_path_factory.mktemp("waiting")) as environment:
        _run(environment, "csr", "acc", "--side", "server")
        yield environment


@contextmanager
def _kept(home: Path) -> Iterator[Environment]:
    (home / "password").write_text("correct horse\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(home / "password"))
        environment = make_environment(home / "repository")
        _write_spec(environment)
        yield environment


def _write_spec(environment: Environment) -> None:
    (environment.root / "config").mkdir()
    (environment.root / "config" / "chainsmith_acc.yml").write_text(_SPEC)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> OutsideCa:
    """A root and the CA below it that issues."""
    home = tmp_path_factory.mktemp("outside")
    return OutsideCa.root(home / "root").below(home / "issuing")


def _chain(authority: OutsideCa) -> list[str]:
    return [str(path) for path in authority.chain]


def test_requests_wait_with_vaulted_keys_and_are_asked_for_once(acc: Environment, tmp_path: Path) -> None:
    """Again changes nothing; the archive holds what is public; other requests and our own CA are refused meanwhile."""
    told = _json(acc, "csr", "acc", "--output", str(tmp_path))
    assert [path.name for path in _requests(acc)] == [
        "client-applicatie.csr",
        "client-postgres.csr",
        "server-pg1.csr",
        "server-pg2.csr",
    ]
    with tarfile.open(told["archive"]) as archive:
        assert sorted(archive.getnames()) == [f"acc-csrs/{path.name}" for path in _requests(acc)]
    vault = acc.state / "requests" / "certs.vault.yml"
    assert vault.read_text().startswith("$ANSIBLE_VAULT;")
    assert vault.stat().st_mode & 0o777 == 0o600
    before = tree(acc.root)
    assert _json(acc, "csr", "acc")["requests"] == told["requests"]
    assert tree(acc.root) == before
    assert "exists already" in _refused(acc, "csr", "acc", "--output", str(tmp_path))
    assert "ask for something else" in _refused(acc, "csr", "acc", "--side", "server")
    for command in ("generate", "plan"):
        line = _refused(acc, command, "acc")
        assert "rechain import acc" in line
        assert "rechain csr acc --discard" in line
    assert "4 signing requests wait" in _run(acc, "status", "acc").stdout
    assert "useless" in _run(acc, "csr", "acc", "--discard").stdout
    assert not (acc.state / "requests").exists()
    assert _json(acc, "generate", "acc")["next"] == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("csr", "nowhere"), "there is no environment 'nowhere'"),
        (("csr", "acc", "--side", "middle"), "middle"),
        (("csr", "acc", "--name", "pg9"), "has no server or client 'pg9'"),
        (("csr", "acc", "--side", "client", "--name", "pg1"), "has no client 'pg1'"),
        (("csr", "acc", "--name", "pg1", "--intermediates"), "leave one of the two out"),
        (("csr", "acc", "--discard"), "no requests wait"),
        (("csr", "acc", "--discard", "--side", "server"), "leave the other options out"),
        (("csr", "acc", "--output", "no/such/folder"), "is not a folder"),
        (("import", "acc"), "got no file"),
        (("import", "nowhere", "x.pem"), "there is no environment 'nowhere'"),
        (("import", "acc", "x.pem"), "no requests wait"),
    ],
)
def test_wrong_use_is_one_line(resting: Environment, arguments: tuple[str, ...], says: str) -> None:
    """Exit 2, and nothing is changed."""
    assert says in _refused(resting, *arguments)


def _wrong_key(acc: Environment, authority: OutsideCa, folder: Path) -> Sequence[str]:
    made = ["-keyout", str(folder / "other.key"), "-out", str(folder / "other.csr")]
    new = ["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=pg1", *made]
    subprocess.run(new, check=True, capture_output=True, timeout=60)
    signed = authority.sign_all([folder / "other.csr", *_requests(acc)[1:]], folder / "r.pem")
    return [str(signed), *_chain(authority)]


def _wrong_name(acc: Environment, authority: OutsideCa, folder: Path) -> Sequence[str]:
    signed = authority.sign_all(_requests(acc), folder / "r.pem", "-subj", "/CN=somebody.else")
    return [str(signed), *_chain(authority)]


def _wrong_usage(acc: Environment, authority: OutsideCa, folder: Path) -> Sequence[str]:
    return [str(authority.sign_all(_requests(acc), folder / "r.pem", profile="bare")), *_chain(authority)]


def _no_root(acc: Environment, authority: OutsideCa, folder: Path) -> Sequence[str]:
    return [str(authority.sign_all(_requests(acc), folder / "r.pem")), str(authority.certificate)]


def _expired(acc: Environment, authority: OutsideCa, folder: Path) -> Sequence[str]:
    dates = ("-startdate", "20200101000000Z", "-enddate", "20210101000000Z")
    return [str(authority.sign_all(_requests(acc), folder / "r.pem", *dates)), *_chain(authority)]


def _a_request(acc: Environment, authority: OutsideCa, folder: Path) -> Sequence[str]:
    return [str(_requests(acc)[0])]


def _a_folder(acc: Environment, authority: OutsideCa, folder: Path) -> Sequence[str]:
    return [str(folder)]


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (_wrong_key, "has the wrong key"),
        (_wrong_name, "its CN is somebody.else"),
        (_wrong_usage, "extendedKeyUsage lacks serverAuth"),
        (_no_root, "there is no certificate of its CA CN=Overheid root"),
        (_expired, "expired on 2021-01-01"),
        (_a_request, "is a signing request"),
        (_a_folder, "can't be read"),
    ],
    ids=lambda value: getattr(value, "__name__", "").lstrip("_"),
)
def test_a_returned_certificate_that_is_wrong_is_refused_with_the_reason(
    waiting: Environment,
    authority: OutsideCa,
    tmp_path: Path,
    returned: Callable[[Environment, OutsideCa, Path], Sequence[str]],
    says: str,
) -> None:
    """Exit 2, one line, nothing is changed: the requests go on waiting."""
    assert says in _refused(waiting, "import", "acc", *returned(waiting, authority, tmp_path))


def test_what_was_signed_becomes_the_next_generation_beside_our_own_client_chain(
    acc: Environment, authority: OutsideCa, tmp_path: Path
) -> None:
    """It is planned and proven; a run that died before the requests were gone is completed by the same command."""
    _run(acc, "csr", "acc", "--side", "server")
    kept = shutil.copytree(acc.state / "requests", tmp_path / "requests")
    command = ["import", "acc", str(authority.sign_all(_requests(acc), tmp_path / "r.pem")), *_chain(authority)]
    assert _json(acc, *command)["next"] == 2
    assert not (acc.state / "requests").exists()
    assert outside_sides(acc.root, "acc", 2) == (Side.SERVER,)
    generation = read_generation(acc.root, "acc", 2)
    assert [one.common_name for one in generation.server_bundle.certificates] == ["Overheid issuing", "Overheid root"]
    assert [one.common_name for one in generation.client_bundle.certificates] == [
        "postgres client g2",
        "postgres root g2",
    ]
    assert _json(acc, "plan", "acc")["proof"]["judgements"] > 0
    shutil.copytree(kept, acc.state / "requests")
    before = tree(acc.state / "generation-2")
    assert _json(acc, *command)["next"] == 2
    assert tree(acc.state / "generation-2") == before
    assert not (acc.state / "requests").exists()
    assert "is not rolled out yet" in _refused(acc, "csr", "acc")


def test_requests_that_can_not_be_removed_are_no_wrong_input(
    acc: Environment, authority: OutsideCa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The generation is made by then: the exit code says that something changed, and the same again completes it."""
    _run(acc, "csr", "acc")
    ref, files = EnvironmentRef(acc.root, "acc"), [authority.sign_all(_requests(acc), tmp_path / "r.pem")]
    files += authority.chain
    with monkeypatch.context() as broken:
        broken.setattr(import_certificates, "remove_requests", _read_only)
        with pytest.raises(RechainError, match="generation 2 is issued") as told:
            import_certificates.import_certificates.fn(ref, files)
    assert told.value.exit_code == 1
    assert "Read-only file system" in told.value.what
    assert import_certificates.import_certificates.fn(ref, files).number == 2
    assert not (acc.state / "requests").exists()


def _read_only(*_arguments: object) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_run_that_died_before_it_recorded_makes_no_second_ca(
    acc: Environment, authority: OutsideCa, tmp_path: Path
) -> None:
    """The folder that it wrote is found, with the client CA in it."""
    _run(acc, "csr", "acc", "--side", "server")
    kept = shutil.copytree(acc.state / "requests", tmp_path / "requests")
    command = ["import", "acc", str(authority.sign_all(_requests(acc), tmp_path / "r.pem")), *_chain(authority)]
    _run(acc, *command)
    before = tree(acc.state / "generation-2")
    shutil.copytree(kept, acc.state / "requests")
    (acc.state / "rotation.yml").unlink()
    _run(acc, *command)
    assert tree(acc.state / "generation-2") == before
    assert read_rotation(acc.root, "acc").next == 2


def test_a_run_that_died_while_it_wrote_had_kept_what_is_current(
    acc: Environment, authority: OutsideCa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A next generation beside a current one that nobody kept could not be walked back from."""
    _run(acc, "csr", "acc", "--side", "server")
    returned = authority.sign_all(_requests(acc), tmp_path / "r.pem")
    monkeypatch.setattr(import_certificates, "write_next", _power_cut)
    with pytest.raises(KeyboardInterrupt):
        import_certificates.import_certificates.fn(EnvironmentRef(acc.root, "acc"), [returned, *authority.chain])
    assert known_generations(acc.root, "acc") == (1,)
    assert _json(acc, "import", "acc", str(returned), *_chain(authority))["next"] == 2
    assert restore_texts(acc.root, "acc", 1) == (acc.certs.read_text(), acc.vault.read_text())


def _power_cut(*_arguments: object) -> None:
    raise KeyboardInterrupt


def test_a_name_that_the_spec_has_gained_meanwhile_is_refused(
    acc: Environment, authority: OutsideCa, tmp_path: Path
) -> None:
    """Everything but the few is carried over, and a new name has nothing that could be."""
    _run(acc, "csr", "acc", "--name", "postgres")
    returned = authority.sign_all(_requests(acc), tmp_path / "r.pem")
    spec = acc.root / "config" / "chainsmith_acc.yml"
    for side, text in (
        (
            "client etl",
            "applicatie]",
        ),
        ("server pg3", "pg2: [192.0.2.2]}"),
    ):
        gained = text.replace("]", ", etl]") if "etl" in side else text.replace("}", ", pg3: [192.0.2.3]}")
        spec.write_text(_SPEC.replace(text, gained))
        assert f"has gained {side} since" in _refused(acc, "import", "acc", str(returned), *_chain(authority))


def test_an_intermediate_from_outside(acc: Environment, authority: OutsideCa, tmp_path: Path) -> None:
    """The outside root signs it, we issue the leaves below, and the key of the intermediate is kept."""
    root = authority.above
    assert root is not None
    _run(acc, "csr", "acc", "--side", "client", "--intermediates")
    signed = root.sign_all(_requests(acc), tmp_path / "r.pem", profile="authority")
    told = _json(acc, "import", "acc", str(signed), str(root.certificate))
    assert told["trusted_for_logins"] == ["CN=Overheid root,O=Overheid"]
    generation = read_generation(acc.root, "acc", 2)
    names = [one.common_name for one in generation.client_bundle.certificates]
    assert names == ["postgres client g2", "Overheid root"]
    (tmp_path / "leaf.pem").write_text(generation.clients["applicatie"].pem)
    verify = ["openssl", "verify", "-purpose", "sslclient", "-CAfile", str(root.certificate)]
    verify += ["-untrusted", str(signed), str(tmp_path / "leaf.pem")]
    assert subprocess.run(verify, capture_output=True, timeout=30, check=False).returncode == 0
    assert (acc.state / "generation-2" / "ca.vault.yml").exists()
    assert _json(acc, "plan", "acc")["proof"]["judgements"] > 0


def test_a_few_leaves_alone_and_everything_else_stays(acc: Environment, authority: OutsideCa, tmp_path: Path) -> None:
    """One server moves to the organisation's CA; all other leaves are those of the present generation."""
    _run(acc, "csr", "acc", "--name", "pg2")
    assert [path.name for path in _requests(acc)] == ["server-pg2.csr"]
    _run(acc, "import", "acc", str(authority.sign_all(_requests(acc), tmp_path / "r.pem")), *_chain(authority))
    was, now = acc.chain.generation, read_generation(acc.root, "acc", 2)
    assert now.clients == was.clients
    assert (now.servers["pg1"], now.client_bundle) == (was.servers["pg1"], was.client_bundle)
    assert now.servers["pg2"] != was.servers["pg2"]
    assert was.server_bundle.fingerprints < now.server_bundle.fingerprints
    changed = {change["path"] for step in _json(acc, "plan", "acc")["steps"] for change in step["changes"]}
    assert changed == {"/etc/pki/postgres/server.crt", "~postgres/.postgresql/root.crt"}


def test_an_environment_without_certificates_gets_its_first_ones_from_outside(
    acc: Environment, authority: OutsideCa, tmp_path: Path
) -> None:
    """As `generate` does: certs.yml and vault are ready to be rolled out; the next ones are asked for again."""
    acc.certs.unlink()
    acc.vault.unlink()
    _run(acc, "csr", "acc")
    command = ["import", "acc", str(authority.sign_all(_requests(acc), tmp_path / "r.pem")), *_chain(authority)]
    assert "--strategy downtime" in _run(acc, *command).stdout
    assert read_rotation(acc.root, "acc").current == 1
    assert acc.vault.read_text().startswith("$ANSIBLE_VAULT;")
    assert _json(acc, "generate", "acc")["next"] == 1  # until it is rolled out, no second one is issued
    write_rotation(acc.root, "acc", AT_REST)
    assert "rechain csr acc" in _refused(acc, "generate", "acc")
    assert _json(acc, "generate", "acc", "--own-ca")["next"] == 2
    assert outside_sides(acc.root, "acc", 2) == ()
