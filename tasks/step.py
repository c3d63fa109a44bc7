"""What every rechain task has in common in Prefect: nothing that it returns is cached or written to disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.utilities.annotations import quote

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_SHOWN = 2

progress = logging.getLogger("rechain")
"""What a person reads while it runs: on the terminal, and in Prefect's UI (`PREFECT_LOGGING_EXTRA_LOGGERS`)."""


def step(name: str, *, run_name: str | None = None) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function a Prefect task.

    Args:
        name: What the UI calls the task.
        run_name: Template of a run's name; parameters in braces, of a list of names the first ones. When it is left
            out, the environment and the task's name, so that a list of runs says which fleet each is about.
    """
    template = run_name or f"{{ref.environment}}: {name.replace('-', ' ')}"

    def named(parameters: Mapping[str, object]) -> str:
        return template.format(**{key: _in_short(value) for key, value in parameters.items()})

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        return Task(function, name=name, task_run_name=cast("Any", named), persist_result=False, cache_policy=NO_CACHE)

    return decorate


def few(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:_SHOWN])} and {more} more"


def _in_short(value: object) -> object:
    return few([str(one) for one in value]) if isinstance(value, (list, tuple)) else value


def as_it_is(value: T) -> T:
    """Pass a large value to a task without Prefect walking through all of it in search of futures."""
    return cast("T", quote(value))
