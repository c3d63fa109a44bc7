"""What a server of production must have before it starts: `python -m deployments.guard`, run by the systemd units.

A server without a password answers everybody, and does not say so: it is better not to start.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping

from cryptography.fernet import Fernet

AUTHENTICATION = "PREFECT_SERVER_API_AUTH_STRING"
ENCRYPTION = "PREFECT_SERVER_ENCRYPTION_KEY"
DATABASES = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")
_EXAMPLE = "CHANGE-ME"
_SHORTEST = 16


def problems(variables: Mapping[str, str]) -> Iterator[str]:
    """What is missing or still the example's, one line each, without any value."""
    if any(_EXAMPLE in value for value in variables.values()):
        named = sorted(name for name, value in variables.items() if _EXAMPLE in value)
        yield f"{', '.join(named)}: still what the example says; put your own value there"
    if not _is_login(variables.get(AUTHENTICATION, "")):
        yield f"{AUTHENTICATION}: must be NAME:PASSWORD, the password {_SHORTEST} characters of ASCII or more"
    if not _is_key(variables.get(ENCRYPTION, "")):
        yield f"{ENCRYPTION}: must be 32 random bytes in URL-safe base64; docs/production.md has the command"
    if not any(variables.get(name, "").startswith("postgresql+asyncpg://") for name in DATABASES):
        yield f"{DATABASES[0]}: must be postgresql+asyncpg://…; SQLite refuses writes at about seven runs at once"


def main() -> int:
    """Say what is wrong on stderr. Returns 1 when something is."""
    found = [f"rechain: {problem}\n" for problem in problems(os.environ)]
    sys.stderr.writelines(found)
    return 1 if found else 0


def _is_login(text: str) -> bool:
    name, _, password = text.partition(":")
    return bool(name) and len(password) >= _SHORTEST and text.isascii() and text.isprintable()


def _is_key(text: str) -> bool:
    try:
        Fernet(text.encode())
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
