"""What a host says reaches whoever follows the roll-out."""

from __future__ import annotations

import pytest

from tasks.fleet.hearing import Hearing
from tasks.fleet.outcome import Outcome


@pytest.mark.parametrize("outcome", [Outcome.INSTALLED, Outcome.UNCHANGED])
def test_a_host_that_took_its_set_may_have_something_to_say(outcome: Outcome) -> None:
    """Its clock is wrong, say: it counts as done, and what it says is told."""
    told: list[str] = []
    hearing = Hearing(["db1"], lambda event: told.append(str(event)), is_ours=True)
    result: dict[str, object] = {"outcome": outcome.value, "served": {}, "msg": "its clock is 1.0 days ahead; set it"}
    hearing.hear({"event": "runner_on_ok", "host": "db1", "result": result})
    assert hearing.results("")[0].is_done
    assert told == ["db1: started", f"db1: {outcome}: its clock is 1.0 days ahead; set it"]
