"""Make a Prefect server know rechain: work pool, block, automations, forms. Safe to repeat after every change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectAlreadyExists, PrefectException
from prefect.settings import PREFECT_API_URL

from rechain.errors import InputError, RechainError
from tasks.notify.settings import slack_settings
from tasks.repository.layout import environments
from tasks.server.automations import PREFIX, automations
from tasks.server.forms import offer_environments
from tasks.server.slack_block import save_block

POOL = "rechain"


def set_up(root: Path) -> Iterator[str]:
    """Make or replace what a server needs besides `prefect deploy --all`.

    Side effect: a work pool, a block when Slack is configured, automations, and the drop-downs of run forms.

    Args:
        root: The environment repository: its environments are offered, its rechain.yml names Slack's channel.

    Yields:
        What was made, a line each.

    Raises:
        InputError: No server is configured, the repository is not fit, or a Slack file can't be used.
        RechainError: The server can't be reached, or refuses.
    """
    address = PREFECT_API_URL.value()
    if not address:
        raise InputError("PREFECT_API_URL", "is not set, so there is no server to set up", "set it to the server's API")
    slack, names = slack_settings(root), environments(root)
    try:
        with get_client(sync_client=True) as client:
            client.api_healthcheck()
            yield _pool(client)
            block = save_block(slack) if slack else None
            yield "Slack: block rechain-slack" if block else "Slack: not configured, so the server tells nobody"
            yield from _automate(client, list(automations(block, slack.channel if slack else None)))
            forms = offer_environments(client, names)
            yield f"run forms that offer {', '.join(names) or 'no environment'}: {', '.join(forms) or 'none'}"
    except (PrefectException, HTTPError) as error:
        raise RechainError(
            address, f"can't be set up: {type(error).__name__}", "see that it runs, and try again"
        ) from None


def _pool(client: SyncPrefectClient) -> str:
    with suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        return f"work pool {POOL}: made"
    return f"work pool {POOL}: is there"


def _automate(client: SyncPrefectClient, wanted: list[AutomationCore]) -> Iterator[str]:
    """Make each automation once; one of ours that is not wanted any more goes."""
    present = {one.name: one for one in client.read_automations(limit=200) if one.name.startswith(PREFIX)}
    for automation in wanted:
        known = present.pop(automation.name, None)
        if known:
            client.update_automation(known.id, automation)
        else:
            client.create_automation(automation)
        yield f"automation {automation.name.removeprefix(PREFIX)}"
    for old in present.values():
        client.delete_automation(old.id)
        yield f"automation {old.name.removeprefix(PREFIX)}: removed"
