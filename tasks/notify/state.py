"""What people were told already: a file on the worker, so that nobody is told twice. Public data only."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from rechain.slack_message import Failure, Said
from tasks.notify.slack import Posted
from tasks.record import state_base
from tasks.repository.files import explain, rename_durably, write_durably
from tasks.repository.lock import held

_SCHEMA = 1
_NAME = "told.json"
_REMEMBERED = timedelta(days=90)
_log = logging.getLogger("rechain")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Replaced(_Model):
    """A message whose incident was told anew, and which does not say so yet."""

    place: Posted
    said: Said


class Record(_Model):
    """An incident that people know of.

    Attributes:
        said: What its message and its thread said last.
        place: Its message.
        digest: What its message looks like.
        replaced: Its older messages that are still to point to this one.
    """

    said: Said
    place: Posted
    digest: str
    replaced: tuple[Replaced, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """What the incident is known by."""
        return self.said.environment, self.said.cause


class FailedRun(_Model):
    """A flow run that failed: when, and what is still to be told of it, null once it is."""

    at: AwareDatetime
    owed: Failure | None


class Memory(_Model):
    """All that was told: incidents that are not resolved, flow runs that failed, by their id, and runs that wait."""

    incidents: tuple[Record, ...] = ()
    failures: dict[str, FailedRun] = {}
    questions: dict[str, AwareDatetime] = {}


class Book:
    """The memory and its file; saved after each message, so that a killed scan repeats one message at most."""

    def __init__(self, path: Path, memory: Memory) -> None:
        self._path = path
        self.memory = memory

    def find(self, environment: str, cause: str) -> Record | None:
        """What is known of an incident."""
        return next((one for one in self.memory.incidents if one.key == (environment, cause)), None)

    def put(self, record: Record) -> None:
        """Remember an incident in place of what was known of it, on disk."""
        self.memory.incidents = (*self._without(record), record)
        self.save()

    def forget(self, record: Record) -> None:
        """Forget an incident that is over, on disk."""
        self.memory.incidents = self._without(record)
        self.save()

    def has_asked(self, question: str) -> bool:
        """Whether people were told that a run waits with a question."""
        return question in self.memory.questions

    def remember_question(self, question: str, at: datetime) -> None:
        """Remember that people were told, on disk."""
        self.memory.questions[question] = at
        self.save()

    def save(self) -> None:
        """Write it beside and rename it."""
        document = {"schema": _SCHEMA, **self.memory.model_dump(mode="json")}
        beside = self._path.with_suffix(".new")
        write_durably(beside, json.dumps(document, indent=1) + "\n", 0o600)
        rename_durably(beside, self._path)

    def _without(self, record: Record) -> tuple[Record, ...]:
        return tuple(one for one in self.memory.incidents if one.key != record.key)


def told_directory(root: Path) -> Path:
    """Where this worker remembers what it told of a repository's environments."""
    return state_base() / f"told-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]}"


@contextmanager
def opened(folder: Path, now: datetime) -> Iterator[Book]:
    """Hold the memory: one scan at a time tells people.

    Raises:
        ClaimRefused: Another one does not end.
        OSError: The state directory can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with held(folder):
        book = Book(folder / _NAME, _read(folder / _NAME, now))
        _drop_old(book.memory, now)
        book.save()  # what can't be remembered must not be told: it would be told every night
        yield book


def _read(path: Path, now: datetime) -> Memory:
    try:
        document = json.loads(path.read_bytes())
        schema = document.pop("schema", None) if isinstance(document, dict) else None
        if schema != _SCHEMA:
            return _set_aside(path, now, f"has schema {schema!r:.20}, not {_SCHEMA}")
        return Memory.model_validate(document)
    except FileNotFoundError:
        return Memory()
    except ValidationError as error:
        return _set_aside(path, now, explain(error))
    except (ValueError, RecursionError):
        return _set_aside(path, now, "is not JSON")


def _set_aside(path: Path, now: datetime, why: str) -> Memory:
    aside = path.with_name(f"{path.name}.{now:%Y%m%dT%H%M%S}")
    path.rename(aside)
    _log.warning("%s: %s; it is set aside as %s, and what it knew is told again", path, why, aside.name)
    return Memory()


def _drop_old(memory: Memory, now: datetime) -> None:
    memory.failures = {run: one for run, one in memory.failures.items() if now - one.at < _REMEMBERED}
    memory.questions = {key: at for key, at in memory.questions.items() if now - at < _REMEMBERED}
