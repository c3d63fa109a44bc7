"""`rechain deliver`: what the owner of an external client needs, in one encrypted archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows import terminal
from flows.options import HERE, Repo


def deliver(
    env: str,
    client: str,
    *,
    output: Annotated[Path | None, Parameter(help="The archive; default ENV-CLIENT.tar.gz.gpg here.")] = None,
    database: Annotated[str | None, Parameter(help="Database of the connection examples.")] = None,
    repo: Repo = HERE,
) -> int:
    """Write a client's certificate, key and bundle, with connection examples, into an archive encrypted with GPG."""
    from tasks.deliver import deliver as write
    from tasks.state import EnvironmentRef

    target = output or Path(f"{env}-{client}.tar.gz.gpg")
    write(EnvironmentRef(repo.resolve(), env), client, target.absolute(), database=database)
    terminal.say(f"{target}: for the owner of {client}; tell the passphrase by another way")
    terminal.say(f"  gpg --decrypt {target.name} | tar xz")
    return 0
