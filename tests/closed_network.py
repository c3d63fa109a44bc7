"""A network of its own for a program to run in: loopback, and one way out that leads to a recorder and no further.

    unshare --net --mount python -m tests.closed_network JOURNAL RESOLVER

holds it open until its standard input ends. The resolver is behind the way out, so a look-up is a packet like any
other. Every packet is a line of the journal; a router that IPv6 itself looks for is none of a program's making.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

RESOLVER = "203.0.113.53"
_SET_INTERFACE, _TUN_WITHOUT_HEADER = 0x400454CA, 0x1001  # linux/if_tun.h: TUNSETIFF; IFF_TUN | IFF_NO_PI
_ICMPV6 = 58
_SET_UP = (
    "ip link set lo up",
    "ip address add 198.51.100.2/24 dev out",
    "ip -6 address add 2001:db8::2/64 dev out nodad",
    "ip link set out up",
    "ip route add default dev out",
    "ip -6 route add default dev out",
)


def main(journal: Path, resolver: Path) -> None:
    """Make the network, say so on stdout, and record until nobody needs it."""
    subprocess.run(["mount", "--bind", str(resolver), "/etc/resolv.conf"], check=True)
    out = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(out, _SET_INTERFACE, struct.pack("16sH", b"out", _TUN_WITHOUT_HEADER))
    for command in _SET_UP:
        subprocess.run(command.split(), check=True)
    threading.Thread(target=_record, args=(out, journal), daemon=True).start()
    print("open", flush=True)  # noqa: T201  # the one who started it waits for this
    sys.stdin.read()


def _record(out: int, journal: Path) -> None:
    with journal.open("a", encoding="utf-8") as file:
        while True:
            destination = _destination(os.read(out, 65536))
            if destination:
                file.write(json.dumps(destination) + "\n")
                file.flush()


def _destination(packet: bytes) -> str | None:
    """Where a packet wants to go."""
    if packet[0] >> 4 == 4:
        return str(ipaddress.ip_address(packet[16:20]))
    return None if packet[6] in (0, _ICMPV6) else str(ipaddress.ip_address(packet[24:40]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
