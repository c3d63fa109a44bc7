"""`rechain config`: change an environment's chain spec, comments and order kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from flows import terminal
from rechain.errors import InputError

config = App(name="config", help="Change the chain spec of an environment; comments and order stay.")

Repo = Annotated[Path, Parameter(name="--repo", env_var="RECHAIN_REPO", help="Environment repository.")]
HERE = Path()


@config.command
def add_client(env: str, *names: str, repo: Repo = HERE) -> int:
    """Add clients: PostgreSQL roles that log in with a certificate. Then: refresh ENV --strategy add-clients."""
    from tasks.repository.spec_edit import add_clients

    if not names:
        raise InputError("rechain config add-client", "got no name", "name one or more clients")
    path = add_clients(repo.resolve(), env, names)
    terminal.say(f"{path.relative_to(repo.resolve())}: added {', '.join(names)}")
    terminal.say(f"next: rechain refresh {env} --strategy add-clients")
    return _tell_usages(path)


@config.command
def add_server(env: str, name: str, *names: str, repo: Repo = HERE) -> int:
    """Add a server, and the further names and addresses in its certificate. Its leaf comes with the next refresh."""
    from tasks.repository.spec_edit import add_server as add

    path = add(repo.resolve(), env, name, names)
    terminal.say(f"{path.relative_to(repo.resolve())}: added {name}")
    terminal.say(f"next: rechain refresh {env}")
    return _tell_usages(path)


def _tell_usages(path: Path) -> int:
    """Say what Java or PostgreSQL would refuse of the leaves that this spec gives."""
    from tasks.lint import lint_files

    for finding in lint_files([path]):
        terminal.complain(str(finding))
    return 0
