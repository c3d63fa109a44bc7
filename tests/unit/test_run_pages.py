"""What pages of runs say in words: numbers, a row for each file, and nothing that becomes markup."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rechain.errors import RollOutFailed
from rechain.gate import Waiting
from rechain.lasting import lasting
from rechain.markdown import code, escaped, table
from rechain.phase import Phase
from rechain.plan import FileChange, Place, Planned, RotationPlan, Step
from rechain.plan_page import plan_markdown, plan_rows, plan_summary
from rechain.prover import Proof
from rechain.report import CanaryReport, Outage, Outcome, PhaseReport, RotationReport, Strategy, sentence, turning_back
from rechain.report_page import revocation_markdown, rotation_markdown
from rechain.revocation import Revoked
from rechain.revocation_report import RevocationReport
from rechain.rotation import Gate

_NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
_HOSTILE = "a|b\n<script>alert(1)</script> `x` [l](javascript:1) &lt; **b**"
_REPORT = RotationReport(
    environment="acc",
    outcome=Outcome.DONE,
    resting_phase=Phase.RETIRED,
    strategy=Strategy.MINIMAL_IMPACT,
    phases=(
        PhaseReport(Phase.OVERLAP, _NOW, _NOW + timedelta(seconds=75), 1234, 0),
        PhaseReport(Phase.SERVERS, _NOW + timedelta(seconds=80), None, 56, 2),
    ),
    canary=CanaryReport(1290, 2, 3100, ("minio on db1:5432: no role",), ("12:01:21 app on db1:5432: unknown ca",)),
    retired_refused=True,
    outage=Outage(_NOW, _NOW + timedelta(seconds=12.4)),
)
_STEP = Step(
    Phase.SERVERS,
    "servers present the next generation",
    tuple(
        FileChange(Place(host, f"/pki/{file}"), ("ab" * 32,), ("cd" * 32, "ef" * 32))
        for host in ("db1", "db2")
        for file in ("root.crt", "server.crt")
    ),
    ("db1: systemctl reload postgresql", "db2: systemctl reload postgresql", "db2: pgbouncer -R"),
)
_PLAN = RotationPlan("acc", Strategy.MINIMAL_IMPACT, (_STEP,), ("app: add the new chain",), ("freeze roll-outs",))
_PLANNED = Planned(_PLAN, Proof(((Phase.OVERLAP, Phase.SERVERS),), 16, 8, 4, ()))


def _cells(markdown: str) -> list[list[str]]:
    """The rows of the tables, without heads and rules."""
    lines = [line.strip("| ").split(" | ") for line in markdown.splitlines() if line.startswith("|")]
    return [cells for number, cells in enumerate(lines) if number > 1]


def test_a_report_has_each_phase_and_all_numbers() -> None:
    """Those of the JSON: attempted, failed, longest gap, outage, what nobody watched."""
    text = rotation_markdown(_REPORT)
    assert text.startswith("## acc: done, the fleet rests at retired\n")
    assert _cells(text) == [
        ["overlap", r"2026\-01\-01 12:00:00", "1 min 15 s", "1,234", "0"],
        ["servers", r"2026\-01\-01 12:01:20", "not ended", "56", "2"],
    ]
    assert "**1,290 logins were tried, 2 failed**; the longest gap was 3,100 ms" in text
    assert "failed: 12:01:21 app on db1:5432: unknown ca" in text
    assert "and 1 more failed" in text
    assert "not watched: minio on db1:5432: no role" in text
    assert "logins failed from 12:00:00 to 12:00:12 UTC, **12.4 s**" in text
    assert "retired certificates, which logged in just before, are refused now" in text
    assert text.endswith("**Next:** nothing: the rotation is at its end.\n")


def test_a_run_ends_with_a_sentence_in_the_list_of_runs() -> None:
    """Done, at a gate, and after a decision to roll back, when nothing waits for anybody any more."""
    waiting = replace(
        _REPORT,
        outcome=Outcome.WAITING,
        resting_phase=Phase.OVERLAP,
        waiting=(Waiting(Gate.EXTERNAL_TRUST, "app", "has not confirmed"),),
    )
    assert sentence(_REPORT) == "done; acc rests at retired; 1290 logins were tried, 2 failed"
    assert sentence(waiting) == "waits at external-trust; acc rests at overlap"
    assert turning_back(waiting) == (
        "ended by a decision to roll back, which is a run of its own; acc rested at overlap; "
        "1290 logins were tried, 2 failed"
    )


def test_a_report_at_a_gate_says_how_to_open_it() -> None:
    """A command that can be pasted, also where a name has blanks, and each only once."""
    waiting = tuple(
        Waiting(Gate.EXTERNAL_TRUST, name, f"{name} has not confirmed") for name in ("Elders BV root", "app", "app")
    )
    text = rotation_markdown(replace(_REPORT, outcome=Outcome.WAITING, resting_phase=Phase.OVERLAP, waiting=waiting))
    assert r"- waits at gate **external\-trust**: app has not confirmed" in text
    assert text.count("`rechain approve acc external-trust --client app --reason '...'`") == 1
    assert "`rechain approve acc external-trust --client 'Elders BV root' --reason '...'`" in text


def test_a_report_of_a_failure_says_what_and_what_to_do() -> None:
    """Where, what, the resting point, and the fix."""
    error = RollOutFailed("db2", "its reload was refused", "look at its log, then run again")
    text = rotation_markdown(replace(_REPORT, outcome=Outcome.FAILED, resting_phase=Phase.OVERLAP), error)
    assert text.startswith("## acc: failed, the fleet rests at overlap\n\n**db2**: its reload was refused\n")
    assert text.endswith("**Next:** look at its log, then run again.\n")


@pytest.mark.parametrize(
    ("resting", "following"), [(Phase.ISSUED, "overlap"), (Phase.OVERLAP, "servers"), (Phase.CLIENTS, "retired")]
)
def test_a_run_that_stopped_early_says_what_follows(resting: Phase, following: str) -> None:
    """Every phase is a resting point, so it says that there is time."""
    text = rotation_markdown(replace(_REPORT, resting_phase=resting))
    assert f"a refresh goes on with `{following}`" in text
    assert ("discards the next generation" in text) is (resting is Phase.ISSUED)


def test_a_revocation_says_who_is_refused_and_what_lives_on() -> None:
    """Serials, numbers, and sessions that a list does not end."""
    revoked = Revoked("app", 2, 0xABC, "CN=client CA", "left", "dba", _NOW)
    report = RevocationReport(
        "acc", (revoked,), 3, ("def",), 12, CanaryReport(40, 0, 90, (), ()), ("app from 192.0.2.1 on db1:5432",)
    )
    text = revocation_markdown(report)
    assert _cells(text) == [["abc", "app", "2", "left", "dba"]]
    assert "**3 logins with it were tried and refused; 12 of others logged in**" in text
    assert "not tested: the key of serial def is not ours" in text
    assert "still open: app from 192.0.2.1 on db1:5432; a list ends no session" in text
    assert "`pg_terminate_backend`" in text
    assert "nothing is left to do" in revocation_markdown(replace(report, sessions=()))


def test_a_plan_has_a_row_for_each_file_and_reloads_after_the_host_s_last() -> None:
    """In the order of the roll-out, with short fingerprints old and new."""
    rows = plan_rows(_PLAN)
    assert [(row["phase"], row["host"], row["file"], row["then"]) for row in rows] == [
        ("servers", "db1", "/pki/root.crt", ""),
        ("servers", "db1", "/pki/server.crt", "systemctl reload postgresql"),
        ("servers", "db2", "/pki/root.crt", ""),
        ("servers", "db2", "/pki/server.crt", "systemctl reload postgresql; pgbouncer -R"),
    ]
    assert {row["certificates"] for row in rows} == {"abababab → cdcdcdcd, efefefef"}
    assert {row["why"] for row in rows} == {"servers present the next generation"}


def test_a_plan_says_proof_whom_to_tell_and_notes() -> None:
    """And how much it is."""
    text = plan_markdown(_PLANNED)
    assert _cells(text) == [["servers", "servers present the next generation", "2", "4", "3"]]
    assert "**Proof:** 1 steps, 16 states, 8 logins: none is refused" in text
    assert "**Tell:**\n\n- app: add the new chain" in text
    assert "- freeze roll\\-outs" in text
    assert plan_summary(_PLAN) == "acc: 4 file changes on 2 hosts, phases servers"


def test_an_empty_plan_says_so() -> None:
    """There is nothing to prove either."""
    text = plan_markdown(Planned(replace(_PLAN, steps=(), tell=(), notes=()), Proof((), 0, 0, 0, ())))
    assert "Nothing is to be done" in text
    assert "Proof" not in text
    assert "Tell" not in text


def test_text_never_becomes_markup() -> None:
    """Of hosts, errors and certificates: no tag, link, code or further cell."""
    assert re.findall(r"(?<!\\)[|<>`*\[\]&]", escaped(_HOSTILE)) == []
    assert "\n" not in escaped(_HOSTILE)
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in table(("a", "b"), [(_HOSTILE, "c")])] == [3, 3, 3]
    assert code("rechain `x`\n y") == "`rechain 'x' y`"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0.0 s"), (0.44, "0.4 s"), (7, "7 s"), (75, "1 min 15 s"), (3600, "1 h"), (3661, "1 h 1 min"),
     (90_000, "1 d 1 h"), (86_400, "1 d"), (86_460, "1 d")],
)  # fmt: skip
def test_a_duration_in_words(seconds: float, told: str) -> None:
    """The two largest units, as a person would say it."""
    assert lasting(seconds) == told
