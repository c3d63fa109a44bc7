"""A reason for which the prover refuses a rotation."""

from __future__ import annotations

from dataclasses import dataclass

from rechain.holdings import Holding, Step


@dataclass(frozen=True, slots=True)
class Refusal:
    """One login that a reachable state would refuse, or one thing that the rotation's material lacks.

    Attributes:
        reason: Why, with the name of the certificate's owner.
        fix: What to do about it.
        client: The client of the pair; None when it is about all clients.
        server: The server of the pair; None when it is about all servers.
        step: The phases between which the state lies; None when it is about the material itself.
        client_holds: What the client's set holds in that state.
        server_holds: What the server's set holds in that state.
    """

    reason: str
    fix: str
    client: str | None = None
    server: str | None = None
    step: Step | None = None
    client_holds: Holding | None = None
    server_holds: Holding | None = None

    def __str__(self) -> str:
        if self.step is None:
            return self.reason
        start, target = self.step
        return (
            f"client {self.client} ({self.client_holds}) at server {self.server} ({self.server_holds}) "
            f"between {start} and {target}: {self.reason}"
        )
