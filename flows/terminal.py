"""The terminal: data on stdout, progress and errors on stderr, Prefect kept quiet."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import yaml
from rich.console import Console

from rechain.errors import InputError


class Format(StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class ScanFormat(StrEnum):
    """How a scan is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    NAGIOS = "nagios"
    PROMETHEUS = "prometheus"
    HTML = "html"


_PREFECT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "rechain",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # where a server looks for lost runs, it expects them this often
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}


def out() -> Console:
    """The console for data."""
    return Console(highlight=False)


def prepare_prefect() -> None:
    """Set what Prefect reads at import: no analytics, no log lines of its own, time for a first temporary server."""
    for name, value in _PREFECT.items():
        os.environ.setdefault(name, value)
    for worker in ("EventsWorker", "APILogWorker"):  # outside of Prefect's own loggers; it tells what it still sends
        logging.getLogger(worker).setLevel(logging.ERROR)


def has_prefect_server() -> bool:
    """Whether a Prefect server may be configured; a temporary one knows of no run."""
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    return bool(os.environ.get("PREFECT_API_URL")) or (home / "profiles.toml").exists()


def make_folder(path: Path) -> None:
    """Make a folder that the command keeps things in. Raises InputError when it can't be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(str(path), f"can't be made: {error.strerror}", "name another place") from None


def show(document: dict[str, object], form: Format, table: Callable[[], None] | None = None) -> None:
    """Print a result on stdout in the form that was asked for."""
    if form is Format.JSON:
        say(json.dumps(document, indent=2))
    elif form is Format.YAML or table is None:
        say(yaml.safe_dump(document, sort_keys=False, allow_unicode=True).rstrip())
    else:
        table()


def say(text: str) -> None:
    """Print a line of data on stdout."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Print one line on stderr."""
    sys.stderr.write(" ".join(text.split()) + "\n")


def require_terminal() -> None:
    """Refuse to ask where nobody can answer. Raises InputError."""
    if sys.stdin is None or not sys.stdin.isatty():  # None: somebody closed it
        raise InputError("rechain", "there is no terminal to confirm on", "add --yes")


def ask(question: str) -> str:
    """What a person answers. Raises InputError when nobody does."""
    require_terminal()
    try:
        return input(question).strip()
    except EOFError:
        raise InputError("rechain", "nobody answered, so nothing was done", "answer, or add --yes") from None


def confirm(question: str, *, yes: bool) -> None:
    """Go on only when a person says so, here or with --yes. Raises InputError."""
    if yes:
        return
    if ask(f"{question} [y/N] ").lower() not in ("y", "yes"):
        raise InputError("rechain", "not confirmed, so nothing was done", "answer y, or add --yes")


@contextmanager
def progress() -> Iterator[None]:
    """Show on stderr what a run does, with the time, for as long as the block lasts."""
    logger, handler = logging.getLogger("rechain"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False  # Prefect's root handler would print every line a second time
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
