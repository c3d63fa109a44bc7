"""rechain.yml."""

from __future__ import annotations

from pathlib import Path

import pytest

from rechain.errors import RepositoryError
from tasks.repository.settings import Settings, read_settings


def test_everything_has_a_default(tmp_path: Path) -> None:
    """No file and an all but empty file mean the same."""
    assert read_settings(tmp_path) == Settings()
    (tmp_path / "rechain.yml").write_text("---\n# nothing yet\n")
    assert read_settings(tmp_path) == Settings()
    assert (Settings().verify.database, Settings().verify.role, Settings().git.base) == ("postgres", "postgres", "dev")
    assert (Settings().thresholds.warning_days, Settings().thresholds.critical_days) == (30, 14)
    assert (Settings().batch, Settings().ca_keys, Settings().playbook) == (1, "keep", None)


def test_every_setting_of_the_design_is_read(tmp_path: Path) -> None:
    """The words of the file are those of the reference."""
    (tmp_path / "rechain.yml").write_text(
        """\
verify: {database: app, role: monitor}
thresholds: {warning: 60d, critical: 20}
playbook: {path: rollout_new_certs.yml, tags: [certs]}
git: {base: main, remote: upstream, merge_request: false}
slack: {channel: "#dba"}
canary: {interval_ms: 50}
gates: {window_s: 10, timeout_s: 20, quiet_s: 1}
batch: 3
roll_out_s: 90
ca_keys: discard
"""
    )
    found = read_settings(tmp_path)
    assert (found.verify.role, found.thresholds.warning_days, found.thresholds.critical_days) == ("monitor", 60, 20)
    assert found.playbook is not None
    assert (found.playbook.path, found.playbook.tags) == ("rollout_new_certs.yml", ("certs",))
    assert (found.git.remote, found.slack.channel, found.canary.interval_ms, found.batch) == ("upstream", "#dba", 50, 3)
    assert (found.gates.window_s, found.roll_out_s, found.ca_keys) == (10, 90, "discard")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batches: 3", "batches: Extra inputs"),
        ("batch: 0", "batch: "),
        ("thresholds: {warning: soon}", "thresholds.warning: "),
        ("slack: {token: xoxb-needle}", "slack.token: Extra inputs"),
        ("- batch", "dictionary"),
        ("batch: [", "is not valid YAML"),
    ],
)
def test_what_is_no_setting_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    """A typo must not become a default; a token that does not belong there is not repeated."""
    (tmp_path / "rechain.yml").write_text(text)
    with pytest.raises(RepositoryError) as caught:
        read_settings(tmp_path)
    assert message in str(caught.value)
    assert "needle" not in str(caught.value)
    assert "\n" not in str(caught.value)
