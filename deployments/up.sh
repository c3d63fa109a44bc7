#!/usr/bin/env bash
# A Prefect server with its UI and one worker on this machine, until Ctrl-C: to look at flows, not for production
# (Prefect's SQLite refuses writes at about seven active runs). What it keeps is in .prefect/.
set -euo pipefail
cd "$(dirname "$0")/.."

port=${PORT:-4200}
unset PREFECT_API_KEY PREFECT_PROFILE
export PREFECT_HOME="$PWD/.prefect" PREFECT_API_URL="http://127.0.0.1:$port/api"
export PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
export PATH="$PWD/.venv/bin:$PATH"
mkdir -p -m 0700 "$PREFECT_HOME"

prefect server start --host 127.0.0.1 --port "$port" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM

for _ in $(seq 60); do
    kill -0 "$server" 2>/dev/null || { echo "up: the server ended; is port $port taken? Another: make up PORT=4201" >&2; exit 1; }
    prefect server status --wait --timeout 1 >/dev/null 2>&1 && break
done

prefect --no-prompt work-pool inspect rechain >/dev/null 2>&1 || prefect --no-prompt work-pool create rechain --type process
if [ -e prefect.yaml ]; then prefect --no-prompt deploy --all; fi
prefect --no-prompt worker start --pool rechain
