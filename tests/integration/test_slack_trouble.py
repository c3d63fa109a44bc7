"""When Slack, the network or the memory is in trouble: the scan goes on, nobody is told twice, no secret gets out."""

from __future__ import annotations

import json
import logging
import multiprocessing
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rechain.errors import InputError
from rechain.scan.incident import Incident
from tasks.notify.incidents import Told, tell, try_slack
from tasks.notify.settings import SlackSettings
from tasks.notify.slack import SlackError, SlackUnavailable
from tests.plugins.slack_scans import INCIDENT, NAME, NOW, WORSE, Scans
from tests.plugins.slack_stub import CHANNEL_ID, TOKEN, WEBHOOK_PATH, WEBHOOK_SECRET, Slack, closed_port


def test_a_passing_error_is_tried_again(slack: Slack, scans: Scans) -> None:
    """An error of Slack's, and a connection that was cut."""
    slack.script = ["502", "cut"]
    assert scans.tell(INCIDENT) == Told(posted=(NAME,))
    assert [call.answer for call in slack.calls] == ["502", "cut", "ok"]


@pytest.mark.parametrize("trouble", ["500", "hang", "closed"])
def test_an_outage_is_survived_and_told_by_the_next_scan(
    slack: Slack, scans: Scans, with_token: SlackSettings, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The scan goes on with a line in its log; first sight, changes and the end are all said later."""
    closed = replace(with_token, base_url=f"http://127.0.0.1:{closed_port()}/api/", timeout_s=1, patience_s=1)
    down = closed if trouble == "closed" else replace(with_token, timeout_s=1, patience_s=1)

    def tell_in_vain(*incidents: Incident) -> None:
        slack.always = trouble
        with caplog.at_level(logging.WARNING, "rechain"):
            told = scans.tell(*incidents, settings=down)
        slack.always = None
        assert [name.startswith(NAME) for name in told.failed] == [True]
        assert "could not be told in Slack: acc" in caplog.text

    tell_in_vain(INCIDENT)
    assert scans.tell(INCIDENT) == Told(posted=(NAME,))
    tell_in_vain(WORSE)
    assert scans.tell(WORSE) == Told(posted=(NAME,))
    tell_in_vain()
    assert scans.tell() == Told(resolved=(NAME,))


def test_what_slack_refuses_keeps_nothing_else_back(slack: Slack, scans: Scans) -> None:
    """The others are told, and the refused one by the next scan."""
    slack.script = ["invalid_blocks"]
    other = replace(INCIDENT, cause="policy:weak-key")
    told = scans.tell(INCIDENT, other)
    assert told.posted == ("acc: policy:weak-key",)
    assert told.failed[0].startswith(f"{NAME}: Slack: refused: invalid_blocks")
    assert scans.tell(INCIDENT, other) == Told(posted=(NAME,))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\x00", b"[]", b'{"schema": 2}', b'{"schema": 1, "incidents": 3}', b"[" * 100_000]
)
def test_a_memory_that_can_not_be_read_is_set_aside(
    slack: Slack, scans: Scans, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told again, with a warning that names the file that was kept."""
    scans.directory.mkdir()
    (scans.directory / "told.json").write_bytes(content)
    with caplog.at_level(logging.WARNING, "rechain"):
        assert scans.tell(INCIDENT) == Told(posted=(NAME,))
    [aside] = scans.directory.glob("told.json.*")
    assert aside.read_bytes() == content
    assert aside.name in caplog.text
    assert scans.tell(INCIDENT) == Told()


def test_nothing_is_told_that_can_not_be_remembered(slack: Slack, scans: Scans, tmp_path: Path) -> None:
    """It would be told every night."""
    scans.directory.parent.mkdir(exist_ok=True)
    scans.directory.write_text("no directory")
    assert scans.tell(INCIDENT).failed == ("Slack: FileExistsError",)
    assert slack.calls == []


def test_the_old_message_leads_to_the_new_one_later(slack: Slack, scans: Scans) -> None:
    """When Slack goes down between the two; an address that it does not give away is done without."""
    scans.tell(INCIDENT)
    assert scans.settings
    slack.script = ["", "500"]
    told = scans.tell(WORSE, settings=replace(scans.settings, patience_s=0))
    assert (told.posted, len(told.failed), slack.edits) == ((NAME,), 1, [])
    slack.script = ["unknown_method"]
    assert scans.tell(WORSE) == Told()
    [edit] = slack.edits
    assert "got worse" in edit["text"]
    assert scans.tell(WORSE) == Told()
    assert len(slack.edits) == 1


def _tell(directory: Path, settings: SlackSettings, incidents: Sequence[Incident]) -> None:
    told = tell(incidents, environments=["acc"], state_dir=directory, settings=settings, now=NOW)
    assert told.failed == ()


def test_two_scans_at_once_tell_once(slack: Slack, scans: Scans, with_token: SlackSettings) -> None:
    """Each incident is one message, whichever of the processes came first."""
    incidents = [replace(INCIDENT, cause=f"policy:{number}") for number in range(5)]
    slack.delay_s = 0.4  # so that the second comes while the first is at it
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_tell, args=(scans.directory, with_token, incidents)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
    assert [one.exitcode for one in both] == [0, 0]
    assert len(slack.posts) == 5


def test_a_scan_that_is_killed_repeats_one_message_at_most(slack: Slack, scans: Scans) -> None:
    """What it had told is remembered; what it had begun to tell is told by the next one."""
    incidents = [replace(INCIDENT, cause=f"policy:{number}") for number in range(3)]
    context = multiprocessing.get_context("spawn")
    slack.script = ["", "hang"]
    slow = replace(scans.settings, timeout_s=30) if scans.settings else None
    killed = context.Process(target=_tell, args=(scans.directory, slow, incidents))
    killed.start()
    while len(slack.calls) < 2:
        assert killed.is_alive()
    killed.kill()
    killed.join()
    assert scans.tell(*incidents) == Told(posted=("acc: policy:1", "acc: policy:2"))


@pytest.mark.parametrize("way", ["scans", "through_webhook"])
@pytest.mark.parametrize("trouble", ["closed", "500", "429", "invalid_auth", "cut"])
def test_no_secret_is_in_a_log_or_an_error(
    request: pytest.FixtureRequest, slack: Slack, way: str, trouble: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not with every logger at its most talkative, nor in the settings, the memory, or what is returned."""
    scans: Scans = request.getfixturevalue(way)
    caplog: pytest.LogCaptureFixture = request.getfixturevalue("caplog")
    assert scans.settings
    settings = replace(scans.settings, patience_s=0)
    slack.always, slack.retry_after = trouble, "60"
    if trouble == "closed":
        settings = _moved(settings, closed_port())
    with caplog.at_level(logging.DEBUG):
        told = scans.tell(INCIDENT, settings=settings)
        with pytest.raises(SlackError) as caught:
            try_slack(settings, NOW)
    shown = traceback.format_exception(caught.value)
    seen = (caplog.text, repr(told), repr(settings), *shown, *capfd.readouterr(), json.dumps(scans.memory()))
    assert told.failed
    assert [record.name for record in caplog.records if record.name.startswith("slack_sdk")] == []
    assert [text for text in seen if WEBHOOK_SECRET in text or TOKEN in text] == []


def _moved(settings: SlackSettings, port: int) -> SlackSettings:
    if settings.webhook_file:
        settings.webhook_file.write_text(f"http://127.0.0.1:{port}{WEBHOOK_PATH}")
    return replace(settings, base_url=f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds 0 words"),
        ("xoxb-needle and more", "holds 3 words"),
        ("needle\x00", "holds"),
        ("ünneedle", "can't be read"),
        (None, "can't be read"),
    ],
)
def test_a_file_that_holds_no_token_is_named_and_not_quoted(
    scans: Scans, tmp_path: Path, content: str | None, message: str
) -> None:
    """Nothing is sent, and the scan goes on."""
    file = tmp_path / "wrong"
    if content is not None:
        file.write_text(content, "utf-8")
    assert scans.settings
    [failed] = scans.tell(INCIDENT, settings=replace(scans.settings, token_file=file)).failed
    assert failed.startswith(f"Slack: {file}: {message}")
    assert "needle" not in failed


def test_a_webhook_that_is_not_encrypted_is_refused(with_webhook: SlackSettings) -> None:
    """It is a secret; on this machine alone it may travel in plain text."""
    assert with_webhook.webhook_file
    with_webhook.webhook_file.write_text("http://hooks.example.com/needle")
    with pytest.raises(InputError) as caught:
        try_slack(with_webhook, NOW)
    assert "needle" not in str(caught.value)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"])
def test_no_proxy_is_asked_for_an_address_of_this_machine(
    slack: Slack, with_token: SlackSettings, with_webhook: SlackSettings, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the worker's environment says."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, f"http://127.0.0.1:{closed_port()}")
    assert try_slack(with_token, NOW) == f"posted to {CHANNEL_ID}"
    assert try_slack(with_webhook, NOW) == "posted through the webhook"


def test_slack_that_hangs_is_given_up_and_not_asked_twice(slack: Slack, with_token: SlackSettings) -> None:
    """It may have posted the message all the same."""
    slack.script = ["hang"]
    with pytest.raises(SlackUnavailable):
        try_slack(replace(with_token, timeout_s=1), NOW)
    assert len(slack.calls) == 1
