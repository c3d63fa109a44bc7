"""What the Prefect server does by itself when nobody else can: find lost runs, and tell what was not told.

Hooks tell of a run that failed or crashed, because they know most; they emit `rechain.told` then. The server tells the
rest: a run whose worker is gone too, a failure that no hook told, a run that never starts, one that waits for days.

Reference: Prefect documentation, "Detect zombie flow runs" and "Event triggers".
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from tasks.server.words import ALIVE, LATE, LOST, QUEUED, UNTOLD, WAITING, payload
from tasks.told_event import FLOWS, TOLD

PREFIX = "rechain: "
HEARTBEAT = timedelta(seconds=30)
"""How often a run says that it lives: `PREFECT_FLOWS_HEARTBEAT_FREQUENCY`, which Prefect allows no lower."""
LOST_AFTER = 6 * HEARTBEAT
"""Long enough for a server that is started again: while it is away nobody's heartbeat arrives."""
_UNTOLD_AFTER = timedelta(minutes=4)
"""A hook waits half a minute for Slack, and for a scan that is telling people, which ends within three minutes."""
_LATE_AFTER = timedelta(minutes=15)
_SLOT_AFTER = timedelta(hours=4)
_ALIVE_WITHIN = timedelta(days=1)
_REMIND_AFTER = timedelta(days=1)
_ENDS = ("Completed", "Failed", "Crashed", "Cancelled", "Cancelling", "Lost")
_WAKES = ("Scheduled", "Resuming", "Pending", "Running", "AwaitingConcurrencySlot", "Late")


def automations(webhook: UUID | None, channel: str | None) -> Iterator[AutomationCore]:
    """Every automation of rechain.

    Args:
        webhook: The block that posts to Slack; None when Slack is not configured, so that nobody is told.
        channel: The channel to post to.
    """
    yield _lost()
    if webhook is None:
        return
    yield _automation(
        "tell that a run is lost",
        _trigger(Posture.Reactive, _events("Lost"), after=set(), within=timedelta(0)),
        CallWebhook(block_document_id=webhook, payload=payload(LOST, channel)),
    )
    yield _automation(
        "tell that a lost run is alive",
        _trigger(Posture.Reactive, _events("heartbeat"), after=set(_events("Lost")), within=_ALIVE_WITHIN),
        CallWebhook(block_document_id=webhook, payload=payload(ALIVE, channel)),
    )
    missing = {
        "tell a failure that was not told": (("Failed", "Crashed"), (TOLD,), _UNTOLD_AFTER, UNTOLD),
        "tell that a run does not start": (
            ("Late", "Resuming"),
            _events(*_ENDS, "Pending", "Running"),
            _LATE_AFTER,
            LATE,
        ),
        # A worker takes such a run again and again, so that it is Pending now and then: that is no start.
        "tell that a run waits for its turn": (
            ("AwaitingConcurrencySlot",),
            _events(*_ENDS, "Running", "Suspended"),
            _SLOT_AFTER,
            QUEUED,
        ),
        "remind of a run that waits": (("Suspended",), _events(*_ENDS, *_WAKES), _REMIND_AFTER, WAITING),
    }
    for name, (after, expected, within, words) in missing.items():
        trigger = _absence(_events(*after), expected, within)
        yield _automation(name, trigger, CallWebhook(block_document_id=webhook, payload=payload(words, channel)))


def _lost() -> AutomationCore:
    """A run that says nothing any more is ended, so that its slot is free and the next one may begin."""
    alive = _events("heartbeat", *_ENDS, "Suspended", "Paused", *(one for one in _WAKES if one != "Running"))
    return _automation(
        "a run without heartbeats is lost",
        _absence(_events("heartbeat", "Running"), alive, LOST_AFTER),
        ChangeFlowRunState(
            name="Lost",
            state=StateType.CRASHED,
            message=f"no sign of life for {LOST_AFTER.total_seconds():.0f} s from the run, its worker or the server",
        ),
    )


def _automation(name: str, trigger: EventTrigger, action: CallWebhook | ChangeFlowRunState) -> AutomationCore:
    return AutomationCore(name=PREFIX + name, trigger=trigger, actions=[action], tags=["rechain"])


def _absence(after: tuple[str, ...], expected: tuple[str, ...], within: timedelta) -> EventTrigger:
    return _trigger(Posture.Proactive, expected, after=set(after), within=within)


def _trigger(posture: Posture, expected: tuple[str, ...], *, after: set[str], within: timedelta) -> EventTrigger:
    """For each run of ours by itself."""
    return EventTrigger(
        match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
        match_related=ResourceSpecification({"prefect.resource.role": "flow", "prefect.resource.name": list(FLOWS)}),
        for_each={"prefect.resource.id"},
        posture=posture,
        after=after,
        expect=set(expected),
        threshold=1,
        within=within,
    )


def _events(*states: str) -> tuple[str, ...]:
    return tuple(f"prefect.flow-run.{state}" for state in states)
