"""Issue a generation as `rechain generate` does: read SPEC, make the keys with WORKERS processes, sign everything."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.generate.measure import Stopwatch
from rechain.issue import issue, key_types
from rechain.spec import parse_spec
from tasks.keys import generate_keys
from tasks.repository.spec_file import load_document

if __name__ == "__main__":
    stopwatch = Stopwatch()
    spec = parse_spec(load_document(Path(sys.argv[1])), sys.argv[1], lambda _: {})
    keys = generate_keys(key_types(spec), int(sys.argv[2]))
    issue(spec, 1, now=datetime.now(UTC), keys=keys)
    stopwatch.report()
