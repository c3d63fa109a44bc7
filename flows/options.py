"""Options that several commands take, so that they are called and explained the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.terminal import Format

Repo = Annotated[Path, Parameter(name="--repo", env_var="RECHAIN_REPO", help="Environment repository.")]
Formatted = Annotated[Format, Parameter(name="--format", help="table, json or yaml.")]
Yes = Annotated[bool, Parameter(name="--yes", negative="", help="Answer the confirmation; never a gate.")]
TakeOver = Annotated[bool, Parameter(name="--take-over", negative="", help="Take the claim of a run that is gone.")]
NonAtomic = Annotated[
    bool, Parameter(name="--accept-non-atomic", negative="", help="Accept that your own playbook restores nothing.")
]
HERE = Path()
