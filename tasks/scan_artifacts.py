"""What a person sees on the page of a scan's run: the table, the timeline as a picture, the forecast."""

from __future__ import annotations

import base64

from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact

from rechain.scan.case import name_of
from rechain.scan.markdown import forecast_markdown
from rechain.scan.report import Row, Scanned
from rechain.scan.timeline import timeline
from tasks.page import key_of

_MOST_ROWS, _MOST_BARS = 2000, 200


def publish(one: Scanned) -> None:
    """Put a scan's results on the page of its run. Side effect: three artifacts; earlier ones stay as versions."""
    picture = base64.b64encode(timeline(one, most=_MOST_BARS).encode()).decode()
    about = f"{one.environment}: {one.status.name}"
    create_markdown_artifact(
        forecast_markdown([one]), key=key_of(one.environment, "scan", "forecast"), description=about
    )
    create_image_artifact(
        f"data:image/svg+xml;base64,{picture}",
        key=key_of(one.environment, "scan", "timeline"),
        description=f"{about}: lives of certificates",
    )
    more = len(one.rows) - _MOST_ROWS
    left_out = f"; {more} less urgent ones are left out" if more > 0 else ""
    create_table_artifact(
        [_row(row) for row in one.rows[:_MOST_ROWS]],
        key=key_of(one.environment, "scan", "certificates"),
        description=f"{about}, {len(one.rows)} certificates, the most urgent first{left_out}",
    )


def _row(row: Row) -> dict[str, object]:
    return {
        "status": row.status.name,
        "ends": f"{row.certificate.not_after:%Y-%m-%d}",
        "days left": row.days_left,
        "certificate": name_of(row.certificate),
        "role": row.role,
        "seen": "; ".join(f"{place.source}: {place.location}" for place in row.places),
        "found": "; ".join(f"{finding.policy}: {finding.what}" for finding in row.findings),
    }
