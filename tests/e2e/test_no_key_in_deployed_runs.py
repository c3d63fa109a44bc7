"""Neither a key nor a token is in anything that Prefect keeps of deployed runs, when every flow has run, or failed."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lab.environment import ENVIRONMENT, EXTERNAL
from lab.fleet import Lab
from tests.inventories import set_reload
from tests.needles import Needles
from tests.places import Content, files, prefect_answers
from tests.plugins.slack_stub import TOKEN, Slack, told_in
from tests.plugins.team import Team
from tests.vaults import vaulted_keys

_DECOY = "planted"
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{20,}={0,2}")
_KEEP_ALL = {
    "PREFECT_LOGGING_LEVEL": "DEBUG",
    "PREFECT_LOGGING_TO_API_ENABLED": "true",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
}


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_what_prefect_keeps_of_every_flow_holds_no_key_and_no_token(
    new_lab: Callable[..., Lab], new_team: Callable[..., Team], slack: Slack, tmp_path: Path
) -> None:
    """Tables, logs, artifacts, results, events, as they are and decoded; what is planted in each place is found."""
    lab = new_lab()
    team = new_team(lab, {**told_in(slack, lab.repository.root, tmp_path), **_KEEP_ALL})
    team.start_worker("one")
    keys = _run_every_flow(team)
    assert slack.posts, "the token was used"
    password = lab.repository.password_file.read_text("utf-8").strip()
    decoy = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    needles = Needles({**keys, _DECOY: decoy.decode()})
    secrets = {"Slack's token": TOKEN, "the vault's password": password, _DECOY: "xoxb-planted-planted"}
    _plant(team, f"{decoy.decode()} xoxb-planted-planted")
    found = {place: _search(needles, secrets, contents) for place, contents in _places(team).items()}
    assert found == {place: {_DECOY, f"{_DECOY} text"} for place in found}


def _run_every_flow(team: Team) -> dict[str, str]:
    """Each deployment once, two of them so that they fail; every key that was there meanwhile."""
    lab, demo = team.lab, {"environment": ENVIRONMENT}
    team.desk.run("config", "add-client", ENVIRONMENT, "etl")
    for deployment, parameters in (
        ("verify-connections/verify", demo),
        ("scan-expiry/nightly", {}),
        ("scan-expiry/environment", {"environments": [ENVIRONMENT]}),
        ("refresh-crls/nightly-lists", {}),
        ("add-client-certificates/add-clients", {**demo, "plan_only": False}),
        ("refresh-with-minimal-impact/refresh", {**demo, "plan_only": True}),
        ("refresh-with-minimal-impact/refresh", {**demo, "plan_only": False, "until": "overlap"}),
    ):
        team.wait(team.start(deployment, parameters), "Completed")
    keys = vaulted_keys(lab)
    team.wait(team.start("roll-back/roll-back", demo), "Completed")
    team.wait(team.start("revoke-certificate/revoke", {**demo, "client": EXTERNAL, "reason": "left"}), "Failed")
    host = lab.standbys[1]
    set_reload(lab, host, f"cat {host.server_directory}/server.key; cat {host.server_directory}/server.key >&2; exit 5")
    team.wait(team.start("replace-with-downtime/replace", {**demo, "plan_only": False}), "Failed")
    return keys | vaulted_keys(lab)


def _plant(team: Team, text: str) -> None:
    """Leave a key and a token where Prefect keeps what a careless flow would say."""
    run = team.runs("verify-connections/verify")[0]["id"]
    entry = {"name": "decoy", "level": 20, "message": text, "timestamp": datetime.now(UTC).isoformat()}
    team.ask("logs/", [{**entry, "flow_run_id": run}])
    (team.home / "storage").mkdir(exist_ok=True)
    result = json.dumps({"result": base64.b64encode(text.encode()).decode()})
    (team.home / "storage" / "decoy").write_text(result, "utf-8")
    (team.home / "decoy.log").write_text(text, "utf-8")
    (team.home / "runs" / "decoy").write_text(text, "utf-8")


def _places(team: Team) -> dict[str, Iterable[Content]]:
    return {
        "the database": files(*team.home.glob("prefect.db*")),
        "the API": prefect_answers(team.api),
        "result storage": files(team.home / "storage"),
        "what server and worker said": files(*team.home.glob("*.log")),
        "records of runs": files(team.home / "runs"),
    }


def _search(needles: Needles, secrets: dict[str, str], contents: Iterable[Content]) -> set[str]:
    """The decoys by their names, others with where they were found."""
    return set(_found(needles, secrets, contents))


def _found(needles: Needles, secrets: dict[str, str], contents: Iterable[Content]) -> Iterator[str]:
    for where, content in contents:
        for name in needles.find(content):
            yield name if name == _DECOY else f"{name} in {where}"
        texts = [content, *map(_decoded, _BASE64.findall(content))]
        for name, secret in secrets.items():
            if any(secret.encode() in text for text in texts):
                yield f"{name} text" if name == _DECOY else f"{name} in {where}"


def _decoded(found: bytes) -> bytes:
    digits = found.rstrip(b"=")
    return base64.b64decode(digits[: len(digits) // 4 * 4])
