"""Finds out who listens on a port of this machine, before a token or code is sent there.

Any account can listen on a free port of the loopback interface and answer as a Ray would. A listener of this account
is trusted, such as an ssh at the end of a tunnel, and so is one of root. Linux reports the owner of each socket. Where
that is unknown (another system, a container's port that the kernel redirects), nothing is refused.
"""

from __future__ import annotations

import getpass
import ipaddress
import os
import pwd
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from cluster.capacity import ClusterError

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
LISTENING = "0A"  # the kernel's number of that state


def trusted_accounts(run_by: str | None = None) -> frozenset[int]:
    """Returns the user ids whose Ray is trusted on this machine: this account's, root's, and that of `run_by`.

    Raises:
        ClusterError: there is no account of that name.
    """
    own = {os.getuid(), 0}
    if run_by is None:
        return frozenset(own)
    try:
        return frozenset({*own, pwd.getpwnam(run_by).pw_uid})
    except KeyError:
        if run_by.isdigit():
            return frozenset({*own, int(run_by)})
        raise ClusterError(
            f"run_by: {run_by}: this machine has no account of that name. Give the name, or the number, of the account "
            "that runs Ray here."
        ) from None


def account_name(uid: int) -> str:
    """Returns the account's name and number, for a message."""
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def own_account() -> str:
    """Returns the account that runs this process: its name, or its number where it has none, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def refuse_strangers(source: str, host: str, port: int, *, run_by: str | None, step: str) -> None:
    """Refuses an address of this machine where another account listens. Addresses elsewhere are not checked.

    Args:
        source: of the address, such as an option, for the message.
        run_by: a further account that may listen there.
        step: how the user confirms that this account is the right one.

    Raises:
        ClusterError: another account listens there; names it.
    """
    trusted = trusted_accounts(run_by)
    strangers = sorted(uid for uid in listeners(host, port) if uid not in trusted)
    if strangers:
        raise ClusterError(
            f"{source}: what listens at {host}:{port} on this machine belongs to {account_name(strangers[0])}, "
            "neither to you nor to root: it would get the cluster's token and your code. If that account runs your "
            f"Ray, {step}; else use another address or port."
        )


def listeners(host: str, port: int) -> frozenset[int]:
    """Returns the user ids of the sockets of this machine that would accept a connection to `host`:`port`.

    It is empty for a host elsewhere, and where the owners of sockets are unknown.
    """
    here = {address for address in addresses_of(host) if is_here(address)}
    return frozenset(uid for address, bound, uid in _listening() if bound == port and _accepts(address, here))


def is_loopback(host: str) -> bool:
    """True if `host`, an IP or `localhost`, leads to this machine's loopback interface; no name is looked up."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_here(host: str) -> bool:
    """True if `host`, an IP or a name, is this machine: loopback, or one of its interfaces."""
    if is_loopback(host):
        return True
    found, own = addresses_of(host), own_addresses()
    return bool(found) and all(is_loopback(address) or address in own for address in found)


def own_addresses() -> frozenset[str]:
    """Returns the IPs of this machine's interfaces."""
    import psutil

    return frozenset(entry.address.partition("%")[0] for entries in psutil.net_if_addrs().values() for entry in entries)


def addresses_of(host: str) -> frozenset[str]:
    """Returns the IPs behind a host's name; empty if it cannot be resolved."""
    try:
        return frozenset(str(found[4][0]).partition("%")[0] for found in socket.getaddrinfo(host.strip("[]"), None))
    except (socket.gaierror, UnicodeError):
        return frozenset()


def _accepts(bound: str, wanted: set[str]) -> bool:
    """True if a socket that is bound to the address `bound` accepts connections to one of `wanted`."""
    return bool(wanted) and (bound in wanted or bound in ("0.0.0.0", "::"))


def _listening() -> Iterator[tuple[str, int, int]]:
    """Yields address, port and user id of each listening socket that the system reports."""
    for table in TABLES:
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == LISTENING:
                address, _, port = fields[1].partition(":")
                yield _address(address), int(port, 16), int(fields[7])


def _address(written: str) -> str:
    """Parses an IP as the kernel writes it: words of 32 bits in hexadecimal, each in the machine's byte order."""
    words = [bytes.fromhex(written[start : start + 8]) for start in range(0, len(written), 8)]
    found = ipaddress.ip_address(b"".join(word[::-1] if sys.byteorder == "little" else word for word in words))
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)
