#!/bin/sh
# Debian's packages for a lab whose hosts are machines (`rechain demo --hosts`); none of their services is started.
set -eu

missing=
for pair in sshd:openssh-server ssh:openssh-client sudo:sudo pgbouncer:pgbouncer haproxy:haproxy etcd:etcd-server \
    ip:iproute2 psql:postgresql-client unshare:util-linux; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
done
if [ -z "$missing" ]; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "make hosts: install these as root, here is no way to:$missing" >&2
    exit 1
fi

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
echo "make hosts: installing$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get -o DPkg::Lock::Timeout=300 -qq update
# shellcheck disable=SC2086  # a list of names
apt-get -o DPkg::Lock::Timeout=300 -qq install --no-install-recommends -y $missing
