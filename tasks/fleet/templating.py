"""Evaluate the Jinja in inventory variables: `ansible-inventory` prints templates as they are written.

What refers to the inventory itself is evaluated, in Jinja's sandbox and only where a value is needed: variables of the
host, `hostvars`, `groups`, `inventory_hostname`. Facts and Ansible's own filters are not there; a value that needs
them is refused with its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from jinja2 import StrictUndefined, TemplateError, Undefined, meta
from jinja2.sandbox import SandboxedEnvironment

from rechain.errors import InventoryError

_JINJA = SandboxedEnvironment(undefined=StrictUndefined, extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"])
_ONE_EXPRESSION = re.compile(r"\s*\{\{((?:(?!\}\}|\{\{).)*)\}\}\s*", re.DOTALL)
_UNSAFE = "__ansible_unsafe"


class HostVariables(Mapping[str, object]):
    """A host's variables, each evaluated when it is asked for."""

    def __init__(self, host: str, raw: Mapping[str, object], magic: Mapping[str, object]) -> None:
        self.host = host
        self._raw = {**raw, **magic}
        self._known: dict[str, object] = {}
        self._under_way: set[str] = set()

    def __getitem__(self, name: str) -> object:
        if name not in self._known:
            self._known[name] = self._evaluate(name, self._raw[name])
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def __repr__(self) -> str:
        return f"HostVariables({self.host})"

    def _evaluate(self, name: str, value: object) -> object:
        if name in self._under_way:
            raise self._refusal(name, "refers to itself")
        self._under_way.add(name)
        try:
            return self._resolve(value)
        except TemplateError as error:
            raise self._refusal(name, f"its Jinja can't be evaluated here: {error.message}") from None
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            raise self._refusal(name, f"its Jinja can't be evaluated here: {type(error).__name__}") from None
        finally:
            self._under_way.discard(name)

    def _resolve(self, value: object) -> object:
        if isinstance(value, str):
            return self._render(value) if "{{" in value or "{%" in value else value
        if isinstance(value, dict):
            return value[_UNSAFE] if _UNSAFE in value else {key: self._resolve(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._resolve(item) for item in value]
        return value

    def _render(self, text: str) -> object:
        names = meta.find_undeclared_variables(_JINJA.parse(text))
        context = {name: self[name] for name in names if name in self}
        expression = _ONE_EXPRESSION.fullmatch(text)
        if expression is None:
            return _JINJA.from_string(text).render(context)
        value = _JINJA.compile_expression(expression[1], undefined_to_none=False)(context)
        return str(value) if isinstance(value, Undefined) else value  # the text of a strict undefined raises

    def _refusal(self, name: str, what: str) -> InventoryError:
        return InventoryError(f"host {self.host}, variable {name}", what, "write the value out in the inventory")


class AllHosts(Mapping[str, HostVariables]):
    """Ansible's `hostvars`: every host's variables."""

    def __init__(self, raw: Mapping[str, Mapping[str, object]], groups: Mapping[str, Sequence[str]]) -> None:
        self._groups = groups
        self._groups_of: dict[str, list[str]] = {host: [] for host in raw}
        for group, hosts in sorted(groups.items()):
            for host in hosts:
                self._groups_of[host].append(group)
        self._hosts = {host: HostVariables(host, variables, self._magic(host)) for host, variables in raw.items()}

    def groups_of(self, host: str) -> Sequence[str]:
        """The groups that a host is in, parents and `all` among them, sorted."""
        return self._groups_of[host]

    def __getitem__(self, host: str) -> HostVariables:
        return self._hosts[host]

    def __iter__(self) -> Iterator[str]:
        return iter(self._hosts)

    def __len__(self) -> int:
        return len(self._hosts)

    def _magic(self, host: str) -> dict[str, object]:
        return {
            "inventory_hostname": host,
            "inventory_hostname_short": host.split(".", maxsplit=1)[0],
            "group_names": [group for group in self._groups_of[host] if group != "all"],
            "groups": self._groups,
            "hostvars": self,
        }
