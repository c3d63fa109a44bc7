"""Switch one set, have its readers take it, prove that they did, or put the previous set back.

Runs on the hosts: standard library of Python 3.8.
"""

from __future__ import annotations

from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from tasks.playbooks.module_utils.rechain_lease import switch_past_readers
    from tasks.playbooks.module_utils.rechain_pem import (
        Refused,
        leaf_fingerprint,
        require_bundle,
        require_lists,
        require_pair,
    )
    from tasks.playbooks.module_utils.rechain_prove import (
        Limits,
        Unproven,
        is_in_use,
        reload_again,
        reload_and_confirm,
        reload_and_prove,
        run_reload,
        start_and_prove,
        taken_by,
    )
    from tasks.playbooks.module_utils.rechain_sets import CertSet, Reader
    from tasks.playbooks.module_utils.rechain_state import HostState
    from tasks.playbooks.module_utils.rechain_wire import Endpoint
else:
    from ansible.module_utils.rechain_lease import switch_past_readers
    from ansible.module_utils.rechain_pem import (
        Refused,
        leaf_fingerprint,
        require_bundle,
        require_lists,
        require_pair,
    )
    from ansible.module_utils.rechain_prove import (
        Limits,
        Unproven,
        is_in_use,
        reload_again,
        reload_and_confirm,
        reload_and_prove,
        run_reload,
        start_and_prove,
        taken_by,
    )
    from ansible.module_utils.rechain_sets import CertSet, Reader
    from ansible.module_utils.rechain_state import HostState
    from ansible.module_utils.rechain_wire import Endpoint


class Installation:
    """The way of one set onto the host: look, stage, switch, prove, and maybe back.

    Attributes:
        changed: Paths whose content is now different.
    """

    def __init__(self, wanted: CertSet, state: HostState, limits: Limits, *, start: bool = False) -> None:
        self._set, self._state, self._limits, self._start = wanted, state, limits, start
        self._directory = wanted.directory
        self._staged: str | None = None
        self.changed: list[str] = []
        with self._rights():
            self._before = self._directory.read()
            self._is_current = self._directory.holds(wanted.files)
        self._is_cut_off = state.pending(wanted.path) is not None
        self._served_before = {str(endpoint): endpoint.served() for _reader, endpoint in wanted.services}

    def _rights(self) -> AbstractContextManager[None]:
        return self._set.account.acting_in(self._set.path)

    def is_needed(self) -> bool:
        """Whether files differ, or a service has not taken the files that are there."""
        if not self._is_current or self._is_cut_off or self._to_start() or not self._is_taken():
            return True
        return not all(is_in_use(reader, endpoint, self._set.files) for reader, endpoint in self._set.services)

    def _is_taken(self) -> bool:
        """Whether those who can't tell what they have read were seen to take these files; one that is down will."""
        taken = self._state.taken(self._set.path).items()
        silent = self._silent()
        return all(one in silent or taken_by([one], self._set.files).items() <= taken for one in self._set.readers)

    def _silent(self) -> list[Reader]:
        """Its services that did not answer, and so were told nothing."""
        return [reader for reader, endpoint in self._set.services if not self._served_before[str(endpoint)]]

    def stage(self) -> None:
        """Write the set beside the one in use and let OpenSSL judge it. Raises Refused."""
        if self._is_cut_off or not self._is_current:
            self._require_running()
        if self._is_current:
            return
        with self._rights():
            version = self._staged = self._directory.stage(self._set.files)
            for reader in self._set.readers:
                cert, key, ca = (self._directory.staged(version, reader.files[part]) for part in ("cert", "key", "ca"))
                require_pair(cert, key, reader.label)
                require_bundle(ca, reader.label)
                if "crl" in reader.files:
                    require_lists(self._directory.staged(version, reader.files["crl"]), reader.label)

    def _require_running(self) -> None:
        """A reload can only be proven on a service that answers; a fresh host's may not run yet."""
        for reader, endpoint in self._set.services:
            is_silent = self._served_before[str(endpoint)] is None
            if is_silent and reader.files["cert"] in self._before and not self._start:
                raise Refused(
                    f"{reader.label}: nothing there speaks TLS, so a reload could not be proven; "
                    "start the service, or correct its address in rechain_services"
                )

    def _to_start(self) -> list[tuple[Reader, Endpoint]]:
        """Its services that do not answer, where they are to be started."""
        silent = self._silent()
        return [one for one in self._set.services if one[0] in silent] if self._start else []

    def _running(self) -> list[tuple[Reader, Endpoint]]:
        """Its services; not those of a fresh host, which take the files when they start."""
        return [(reader, endpoint) for reader, endpoint in self._set.services if self._served_before[str(endpoint)]]

    def _commanded(self) -> list[Reader]:
        """Its readers without an endpoint that had files before: all there is to see is how their command ends."""
        return [one for one in self._set.readers if one.endpoint is None and one.files["cert"] in self._before]

    def _newcomers(self) -> list[Reader]:
        """Those that had none: what they read first may be what they need to run at all, so it stays."""
        return [one for one in self._set.readers if one.endpoint is None and one.files["cert"] not in self._before]

    def _reload_newcomers(self) -> None:
        for reader in self._newcomers():
            try:
                run_reload(reader, self._limits.reload_s)
            except Unproven as error:
                raise Unproven(f"{error}; its files stay, as none were here before") from None
            self._state.end(self._set.path, taken_by([reader], self._set.files))

    def discard(self) -> None:
        """Remove what was staged and never used."""
        with self._rights():
            if self._staged and self._staged != self._directory.version():  # the rename may have been the last success
                self._directory.remove(self._staged)
        self._staged = None

    def run(self) -> None:
        """Switch, reload and prove.

        Raises:
            Unproven: A reader did not take the set; all have the previous one back, where there was one.
        """
        has_new_bundle = {reader.label: self._has_new_bundle(reader) for reader, _endpoint in self._set.services}
        previous = self._switch(self._staged) if self._staged else self._interrupted()
        try:
            for reader, endpoint in self._running():
                is_new = has_new_bundle[reader.label]
                before = self._before.get(reader.files["ca"])
                reload_and_prove(reader, endpoint, self._set.files, self._limits, before, has_new_bundle=is_new)
            for reader, endpoint in self._to_start():
                start_and_prove(reader, endpoint, self._set.files, self._limits)
            for reader in self._commanded():
                run_reload(reader, self._limits.reload_s)
            self._require_intact()
        except Unproven as error:
            raise Unproven(f"{error}; {self._restore(previous)}") from None
        silent = [] if self._start else self._silent()
        left_out = [*silent, *self._newcomers()]
        self._finish(previous, taken_by([one for one in self._set.readers if one not in left_out], self._set.files))
        self._reload_newcomers()

    def _has_new_bundle(self, reader: Reader) -> bool:
        """Not certainly the one it read last: a run that was killed may have switched and not reloaded."""
        name = reader.files["ca"]
        return self._is_cut_off or self._before.get(name) != self._set.files[name]

    def served(self) -> Mapping[str, str | None]:
        """What each service of the set serves: `address:port` to fingerprint."""
        return {f"{endpoint.address}:{endpoint.port}": endpoint.served() for _reader, endpoint in self._set.services}

    def _switch(self, version: str) -> str | None:
        """Make the staged version the one in use. Returns the version that was in use before."""
        with self._rights():
            previous = self._directory.adopt()
            self._directory.publish(version)
        self._state.begin(self._set.path, previous)
        with self._rights():
            self._turn(version, previous)
        self._staged = None
        names = (name for name, content in self._set.files.items() if self._before.get(name) != content)
        self.changed = sorted(str(self._set.path / name) for name in names)
        return previous

    def _turn(self, version: str, previous: str | None) -> None:
        if previous is None or not self._set.has_changed_pair(self._before):
            self._directory.rename(version)
            return
        spare = self._directory.stage(
            self._before
        )  # given up to whoever reads; what can be gone back to stays as it is
        self._directory.switch(spare)
        names = {reader.files["cert"] for reader in self._set.readers} & set(self._before)
        certs = {self._directory.staged(spare, name): self._set.files[name] for name in names}
        switch_past_readers(self._directory.prepared(version), certs, self._limits.hold_s)
        self._directory.sync()

    def _interrupted(self) -> str | None:
        """The files are here, but not proven: the version before them, when a run that died noted one."""
        pending = self._state.pending(self._set.path)
        previous = pending.get("previous") if pending else None
        with self._rights():
            known = self._directory.read_version(str(previous)) if previous else {}
        if not known:  # somebody may have cleaned up there; then there is nothing to go back to
            return None
        self._before = known
        return str(previous)

    def _require_intact(self) -> None:
        """Something other than this module may have changed the files since the switch: a restart would find it."""
        with self._rights():
            if not self._directory.holds(self._set.files):
                raise Unproven(f"{self._set.path}: files or modes were changed after they were installed")

    def _restore(self, previous: str | None) -> str:
        """Put the previous files back, have them taken, and confirm it. Says in words how that went."""
        if not self.changed and previous is None:
            return "these files were here before, and no previous ones are known"
        restored = self._put_back(previous)
        doubts = [
            reload_and_confirm(reader, endpoint, self._acceptable(reader.files["cert"], str(endpoint)), self._limits)
            for reader, endpoint in self._running()
        ]
        doubts += [reload_again(reader, self._limits) for reader in self._commanded()]
        self._put_back(restored)  # a reload command that breaks files has done so again
        self.changed = [path for path in self.changed if Path(path).name not in self._before and self._before]
        if any(doubts):
            return f"the previous files are back, but {', '.join(filter(None, doubts))}"
        known = [one for one in self._set.readers if one not in (*self._silent(), *self._newcomers())]
        self._finish(restored, taken_by(known, self._before))
        return "the previous files are back and in use"

    def _put_back(self, previous: str | None) -> str | None:
        """The files that were here, and the first ones of those that had none, where others had some."""
        first = {name: self._set.files[name] for one in self._set.readers for name in one.files.values()}
        with self._rights():
            return self._directory.put_back({**first, **self._before} if self._before else {}, previous)

    def _acceptable(self, cert: str, endpoint: str) -> frozenset[str | None]:
        return frozenset({leaf_fingerprint(self._before.get(cert)), self._served_before[endpoint]} - {None})

    def _finish(self, previous: str | None, taken: Mapping[str, str]) -> None:
        """All is proven: keep the version in use and the one before it, and note who has taken which files."""
        with self._rights():
            self._directory.prune(self._directory.version(), previous)
        self._state.end(self._set.path, taken)
