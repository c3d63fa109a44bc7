"""rechain.yml: optional settings of an environment repository; everything has a default."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from rechain.address import keeps_secrets
from rechain.errors import RepositoryError
from tasks.repository.files import explain, parse_yaml, read_text


def _days(value: object) -> object:
    """Accept `30d` as well as 30."""
    return int(value[:-1]) if isinstance(value, str) and value.endswith("d") and value[:-1].isdigit() else value


Days = Annotated[int, BeforeValidator(_days), Field(ge=0)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Verify(_Model):
    """How logins are tried: database to log in to, and role that reads sessions (needs pg_read_all_stats)."""

    database: str = "postgres"
    role: str = "postgres"


class Thresholds(_Model):
    """Days left at which a certificate is reported."""

    warning_days: Days = Field(30, alias="warning")
    critical_days: Days = Field(14, alias="critical")


class Playbook(_Model):
    """The users' own roll-out playbook, relative to the repository, and the tags to run."""

    path: str
    tags: tuple[str, ...] = ()


class Git(_Model):
    """Base branch, remote (default: `origin` where there is one), and whether to ask for a merge request."""

    base: str = "dev"
    remote: str | None = None
    merge_request: bool = True


def _keeps_secrets(address: str | None) -> str | None:
    if address is not None and not keeps_secrets(address):
        raise ValueError("is not an https address")
    return address


class Slack(_Model):
    """Where notifications go, and where Slack's Web API is when that is elsewhere; the token is never in this file."""

    channel: str | None = Field(None, min_length=1)
    base_url: Annotated[str | None, AfterValidator(_keeps_secrets)] = None


class Canary(_Model):
    """Milliseconds between two logins of one client."""

    interval_ms: int = Field(100, gt=0)


class Gates(_Model):
    """Seconds that sessions are watched, that evidence is waited for, and of quiet after a phase's last action."""

    window_s: float = Field(60, ge=0)
    timeout_s: float = Field(300, ge=0)
    quiet_s: float = Field(5, ge=0)


def _playbook(value: object) -> object:
    """Accept a bare path."""
    return {"path": value} if isinstance(value, str) else value


class Settings(_Model):
    """All settings of a repository.

    Attributes:
        batch: Hosts at a time in a roll-out.
        roll_out_s: Seconds that a roll-out to all hosts may take; then it is ended, and what it began is named.
        ca_keys: Whether a generation's CA keys are kept in their vault or discarded once it is issued; `discard-root`
            keeps the intermediates' alone, which still add and revoke clients.
        next_refresh: Day of the next planned refresh: the scan warns of a CA that ends before it.
    """

    verify: Verify = Verify()
    thresholds: Thresholds = Thresholds()
    playbook: Annotated[Playbook | None, BeforeValidator(_playbook)] = None
    git: Git = Git()
    slack: Slack = Slack()
    canary: Canary = Canary()
    gates: Gates = Gates()
    batch: int = Field(1, ge=1)
    roll_out_s: float = Field(3600, gt=0)
    ca_keys: Literal["keep", "discard-root", "discard"] = "keep"
    next_refresh: date | None = None


def read_settings(root: Path) -> Settings:
    """Read rechain.yml; every default when there is none.

    Raises:
        RepositoryError: It is unreadable, or holds something that is no setting.
    """
    path = root / "rechain.yml"
    if not path.exists():
        return Settings()
    document = parse_yaml(read_text(path), str(path))
    try:
        return Settings.model_validate({} if document is None else document)
    except ValidationError as error:
        raise RepositoryError(str(path), explain(error), "correct or remove that setting") from None
