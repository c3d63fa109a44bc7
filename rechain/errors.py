"""The one family of errors, each carrying where, what and the next action.

The exit code is part of an error's type, so that the command line never guesses:
1 the run failed and the fleet rests at a safe point, 2 the input was refused and nothing changed, 4 a gate waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from rechain.refusal import Refusal
    from rechain.returned import Problem


class RechainError(Exception):
    """Something a database administrator must read: one line that says where, what and the fix.

    Args:
        where: The file, host, endpoint or client that it is about.
        what: What was found, and what was expected.
        fix: What to do next.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, where: str, what: str, fix: str) -> None:
        self.where = where
        self.what = what
        self.fix = fix
        super().__init__(where, what, fix)

    def __str__(self) -> str:
        return f"{self.where}: {self.what} ({self.fix})"


class InputError(RechainError):
    """The input was refused; nothing was changed."""

    exit_code = 2


class SpecError(InputError):
    """A chain spec has a shape that can't be served."""


class PemError(InputError):
    """A text that should hold certificates or a key does not."""


class RepositoryError(InputError):
    """The environment repository lacks something or contradicts itself."""


class InventoryError(InputError):
    """Ansible can't read the inventory, or a variable in it has the wrong shape."""


class ProofRefused(InputError):
    """Some reachable state of the plan would refuse a login, so nothing is touched.

    Args:
        where: The environment.
        what: The first refusals, and how many there are.
        fix: What to do next.
        refusals: All of them.
    """

    def __init__(self, where: str, what: str, fix: str, refusals: tuple[Refusal, ...] = ()) -> None:
        self.refusals = refusals
        super().__init__(where, what, fix)


class ImportRefused(InputError):
    """Certificates of an outside CA can't be used; nothing was changed.

    Args:
        where: The requests that they were given for.
        what: The problems, and how many there are.
        fix: What to do next.
        problems: All of them.
    """

    def __init__(self, where: str, what: str, fix: str, problems: tuple[Problem, ...] = ()) -> None:
        self.problems = problems
        super().__init__(where, what, fix)


class TransitionRefused(InputError):
    """The rotation can't move that way from where it is."""


class ClaimRefused(InputError):
    """Somebody else moves this environment; nothing acts without an accepted claim."""


class RollOutFailed(RechainError):
    """A host did not take its set, or its reload was not proven; it was restored."""


class VerificationFailed(RechainError):
    """A login, a served certificate or a server log contradicts the intended phase."""


class GateClosed(RechainError):
    """A gate waits for evidence or for a person's approval."""

    exit_code = 4
