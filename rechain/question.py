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
        listed: What the form listed: gates, with the client where a gate is about one.
    """

    turn: int
    generation: int
    phase: Phase
    listed: frozenset[tuple[str, str]]

    @property
    def key(self) -> str:
        """Its name within the run."""
        return f"g{self.generation}-{self.phase}-{self.turn}"

    def opens(self, waiting: Iterable[Waiting]) -> tuple[Waiting, ...]:
        """What the answer `continue` opens: all that its form listed, and nothing that came to wait later."""
        return tuple(one for one in waiting if _listed(one) in self.listed)


def next_question(last: Question | None, generation: int, phase: Phase, waiting: Iterable[Waiting]) -> Question:
    """The question about what waits now.

    Args:
        last: The run's last one, whatever it was about.
        generation: The generation that is rotated to.
        phase: The phase that waits to begin.
        waiting: What it waits for.
    """
    turn = last.turn + 1 if last else 1
    return Question(turn, generation, phase, frozenset(_listed(one) for one in waiting))


def _listed(one: Waiting) -> tuple[str, str]:
    return (one.gate, one.client or "")
