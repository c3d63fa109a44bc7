"""A scan as text for node_exporter's textfile collector, with the metric names of x509-certificate-exporter.

Dashboards and alerts made for that exporter work unchanged; our labels `environment`, `source` and `role` come besides.

References: Prometheus documentation, "Exposition formats"; x509-certificate-exporter, docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import PurePosixPath

from cryptography import x509
from cryptography.x509.oid import NameOID

from rechain.scan.case import Place
from rechain.scan.report import Row, Scanned

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_PARTS = {
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "CN": NameOID.COMMON_NAME,
}
_Value = Callable[[Row, Scanned], float]
_PER_CERTIFICATE: tuple[tuple[str, str, _Value], ...] = (
    ("x509_cert_not_before", "First second of validity.", lambda row, _: row.certificate.not_before.timestamp()),
    ("x509_cert_not_after", "Last second of validity.", lambda row, _: row.certificate.not_after.timestamp()),
    ("x509_cert_expired", "1 when it has ended.", lambda row, one: float(one.at > row.certificate.not_after)),
    (
        "x509_cert_expires_in_seconds",
        "Seconds from the scan until it ends.",
        lambda row, one: (row.certificate.not_after - one.at).total_seconds(),
    ),
    (
        "x509_cert_valid_since_seconds",
        "Seconds from the beginning of its validity to the scan.",
        lambda row, one: (one.at - row.certificate.not_before).total_seconds(),
    ),
)


def prometheus(scanned: Sequence[Scanned]) -> str:
    """The text of a metrics file: one series for each certificate and place, and what could not be seen."""
    lines = [line for name, about, value in _PER_CERTIFICATE for line in _gauge(name, about, scanned, value)]
    return "\n".join([*lines, *_errors(scanned), *_about_scans(scanned)]) + "\n"


def _gauge(name: str, about: str, scanned: Sequence[Scanned], value: _Value) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} gauge"
    for one in scanned:
        for row in one.rows:
            number = _number(value(row, one))
            yield from (f"{name}{{{_labels(_of_row(row, place))}}} {number}" for place in row.places)


def _errors(scanned: Sequence[Scanned]) -> Iterator[str]:
    yield "# HELP x509_read_errors Sources, hosts and endpoints that could not be looked at."
    yield "# TYPE x509_read_errors gauge"
    for one in scanned:
        yield f"x509_read_errors{{{_labels({'environment': one.environment})}}} {len(one.unreachable)}"
    yield "# HELP rechain_scan_finding Findings by policy and severity."
    yield "# TYPE rechain_scan_finding gauge"
    for one in scanned:
        counts: dict[tuple[str, str], int] = {}
        for finding in one.every_finding:
            key = (finding.policy, finding.severity.value)
            counts[key] = counts.get(key, 0) + 1
        for (policy, severity), count in counts.items():
            labels = {"environment": one.environment, "policy": policy, "severity": severity}
            yield f"rechain_scan_finding{{{_labels(labels)}}} {count}"


def _about_scans(scanned: Sequence[Scanned]) -> Iterator[str]:
    yield "# HELP rechain_scan_timestamp_seconds When the scan looked: alert on its age."
    yield "# TYPE rechain_scan_timestamp_seconds gauge"
    for one in scanned:
        labels = _labels({"environment": one.environment})
        yield f"rechain_scan_timestamp_seconds{{{labels}}} {_number(one.at.timestamp())}"
    yield "# HELP rechain_forecast_first_failure_timestamp_seconds When the first login fails if nobody does anything."
    yield "# TYPE rechain_forecast_first_failure_timestamp_seconds gauge"
    for one in scanned:
        for failure in one.forecast.failures[:1]:
            labels = _labels({"environment": one.environment})
            number = _number(failure.at.timestamp())
            yield f"rechain_forecast_first_failure_timestamp_seconds{{{labels}}} {number}"


def _of_row(row: Row, place: Place) -> dict[str, str]:
    certificate = row.certificate
    return {
        "environment": row.environment,
        "source": place.source.value,
        "role": row.role,
        "filename": PurePosixPath(place.location).name,
        "filepath": place.location,
        "serial_number": str(certificate.serial),
        "fingerprint": certificate.fingerprint,
        **_name("issuer", certificate.issuer),
        **_name("subject", certificate.subject),
    }


@lru_cache(maxsize=65536)
def _name(prefix: str, name: str) -> Mapping[str, str]:
    """The parts of a name as labels `subject_CN` …; a part that stands twice counts by its last value."""
    try:
        parsed = x509.Name.from_rfc4514_string(name)
    except ValueError:
        return {f"{prefix}_CN": name}
    parts = {label: parsed.get_attributes_for_oid(oid) for label, oid in _PARTS.items()}
    return {f"{prefix}_{label}": str(values[-1].value) for label, values in parts.items() if values}


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(round(value, 3))
