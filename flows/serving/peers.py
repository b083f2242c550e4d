"""Whose program is at the other end of a connection within this machine, from the kernel's table of sockets (Linux)."""

import ipaddress
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

Address = tuple[str, int]
"""Numeric address and port."""
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
ESTABLISHED = "01"


def is_of_this_user(client: Address | None, server: Address | None, tables: Iterable[Path] = TABLES) -> bool:
    """Whether a connection comes from a program of the user that this process runs as, or of the administrator.

    A socket that its owner has closed already is listed as the administrator's; therefore one that is not established,
    or not listed, counts as somebody else's.  Where the system has no such table, everybody counts as this user.

    Args:
        client: the other end of the connection.
        server: this end.
        tables: the kernel's tables, for tests.
    """
    present = [path for path in tables if path.is_file()]
    if not present:
        return True
    if client is None or server is None:
        return False
    wanted = _plain(client), _plain(server)
    owners = {owner for path in present for ends, owner in _sockets(path) if ends == wanted}
    return bool(owners) and owners <= {0, os.geteuid()}


def _sockets(table: Path) -> Iterator[tuple[tuple[Address, Address], int]]:
    """Both ends, the own first, of every established connection of a table, and the user whose socket it is."""
    for line in table.read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == ESTABLISHED and fields[9] != "0":
            yield (_decoded(fields[1]), _decoded(fields[2])), int(fields[7])


def _decoded(text: str) -> Address:
    """`0100007F:1068`, whose address stands in words of the machine's byte order, as ("127.0.0.1", 4200)."""
    words, _, port = text.partition(":")
    parts = [bytes.fromhex(words[start : start + 8]) for start in range(0, len(words), 8)]
    packed = b"".join(part[::-1] if sys.byteorder == "little" else part for part in parts)
    return _plain((str(ipaddress.ip_address(packed)), int(port, 16)))


def _plain(address: Address) -> Address:
    """An IPv4 address within IPv6 as IPv4."""
    number = ipaddress.ip_address(address[0])
    mapped = number.ipv4_mapped if isinstance(number, ipaddress.IPv6Address) else None
    return str(mapped or number), address[1]
