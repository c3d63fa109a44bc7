"""The Prefect server never looks at what Slack answers, so the block is tried before it is saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.blocks.webhook import Webhook

from rechain.errors import InputError
from tasks.notify.settings import SlackSettings
from tasks.server.slack_block import save_block
from tests.plugins.slack_stub import CHANNEL, TOKEN, Slack, closed_port

Settings = Callable[[str | None], SlackSettings]
_ID = "5f4b2c1e-0000-4000-8000-000000000001"


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Saving without a Prefect server: the names under which something was saved."""
    names: list[str] = []

    def save(_block: object, name: str, **_options: object) -> str:
        names.append(name)
        return _ID

    monkeypatch.setattr(Webhook, "save", save)
    return names


@pytest.fixture
def settings(slack: Slack, tmp_path: Path) -> Settings:
    """Settings with the stub's token, for the stub or for another address."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)

    def make(address: str | None) -> SlackSettings:
        return SlackSettings(CHANNEL, token, None, base_url=address or slack.base_url)

    return make


def test_a_block_that_slack_takes_is_saved(slack: Slack, settings: Settings, saved: list[str]) -> None:
    """With one message that says what will come this way."""
    assert str(save_block(settings(None))) == _ID
    assert saved == ["rechain-slack"]
    assert [post["channel"] for post in slack.posts] == ["#dba"]


@pytest.mark.parametrize("word", ["not_in_channel", "invalid_auth"])
def test_a_refusal_is_named_and_nothing_is_saved(slack: Slack, settings: Settings, saved: list[str], word: str) -> None:
    """Slack says it in an answer with status 200."""
    slack.script.append(word)
    with pytest.raises(InputError, match=f"did not take a trial message: {word}"):
        save_block(settings(None))
    assert saved == []


def test_nobody_there_is_named_without_the_address(settings: Settings, saved: list[str]) -> None:
    """The address of a webhook is a secret."""
    with pytest.raises(InputError, match="ConnectError") as refused:
        save_block(settings(f"http://127.0.0.1:{closed_port()}/"))
    assert "127.0.0.1" not in str(refused.value)
    assert saved == []
