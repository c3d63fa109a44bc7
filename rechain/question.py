"""What a run asked a person at a gate, and what an answer to it opens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rechain.gate import Waiting
from rechain.phase import Phase


@dataclass(frozen=True, slots=True)
class Question:
    """A question of a run; a later one takes the place of all before it.

    Attributes:
        turn: The how manieth question of its run, from 1 on.
        generation: The generation that is rotated to.
        phase: The phase that waits to begin.
        since: Since when the fleet rests where it rested then, as text: reached anew, it is another question.
        listed: What the form listed: gates, with the client where a gate is about one.
    """

    turn: int
    generation: int
    phase: Phase
    since: str
    listed: frozenset[tuple[str, str]]

    @property
    def key(self) -> str:
        """Its name within the run."""
        return f"g{self.generation}-{self.phase}-{self.turn}"

    def is_about(self, generation: int, phase: Phase, since: str) -> bool:
        """Whether it was asked before the same move: a phase that was reached anew has to be looked at anew."""
        return (self.generation, self.phase, self.since) == (generation, phase, since)

    def opens(self, waiting: Iterable[Waiting]) -> tuple[Waiting, ...]:
        """What the answer `continue` opens: all that its form listed, and nothing that came to wait later."""
        return tuple(one for one in waiting if _listed(one) in self.listed)


def next_question(
    last: Question | None, generation: int, phase: Phase, since: str, waiting: Iterable[Waiting]
) -> Question:
    """The question about what waits now.

    Args:
        last: The run's last one, whatever it was about.
        generation: The generation that is rotated to.
        phase: The phase that waits to begin.
        since: Since when the fleet rests, as text.
        waiting: What it waits for.
    """
    turn = last.turn + 1 if last else 1
    return Question(turn, generation, phase, since, frozenset(_listed(one) for one in waiting))


def _listed(one: Waiting) -> tuple[str, str]:
    return (one.gate, one.client or "")
