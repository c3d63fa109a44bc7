"""What a server is set to, as it says itself."""

from __future__ import annotations

import psycopg
from psycopg import sql

from rechain.fleet import Endpoint
from tasks.fleet.connection import Access, Unreadable, connected, unreadable


def server_setting(endpoint: Endpoint, access: Access, name: str) -> str | Unreadable:
    """Read one setting of a running server. Idempotent, safe to retry.

    Returns:
        Its value; or why it can't be read.

    References: PostgreSQL documentation, "SHOW".
    """
    try:
        with connected(endpoint, access) as connection:
            row = connection.execute(sql.SQL("SHOW {}").format(sql.Identifier(name))).fetchone()
    except psycopg.Error as error:
        return unreadable(endpoint, error)
    return str(row[0]) if row else ""
