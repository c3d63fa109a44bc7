"""What every rechain task has in common in Prefect: nothing that it returns is cached or written to disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.utilities.annotations import quote

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

progress = logging.getLogger("rechain")
"""What a person reads while it runs: on the terminal, and in Prefect's UI (`PREFECT_LOGGING_EXTRA_LOGGERS`)."""


def step(name: str, *, run_name: str | None = None) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function a Prefect task.

    Args:
        name: What the UI calls the task.
        run_name: Template of a run's name; parameters in braces.
    """

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        return Task(function, name=name, task_run_name=run_name, persist_result=False, cache_policy=NO_CACHE)

    return decorate


def as_it_is(value: T) -> T:
    """Pass a large value to a task without Prefect walking through all of it in search of futures."""
    return cast("T", quote(value))
