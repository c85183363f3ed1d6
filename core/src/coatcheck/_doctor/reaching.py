"""
The way to a server by steps: its name, TCP, TLS, and how long its certificate is valid.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import Any, Final

from .._backends import lookups
from .._backends.checkup import Finding, Level, Server
from .._runtime.clocks import monotonic, wall

#: A certificate that is valid for fewer days is a finding.
DAYS: Final = 21


def reach(servers: Sequence[Server], timeout: float) -> list[Finding]:
    """
    Look for all *servers*. Each step may take *timeout* seconds. A server that cannot be reached is a warning
    while there are others.
    """
    found = [list(_steps(server, timeout)) for server in servers]
    broken = [any(one.level == Level.BROKEN for one in steps) for steps in found]
    all_steps = [one for steps in found for one in steps]
    return all_steps if all(broken) else [_lessened(one) for one in all_steps]


def _lessened(finding: Finding) -> Finding:
    return finding._replace(level=min(finding.level, Level.WARNING))


def _steps(server: Server, timeout: float) -> Iterator[Finding]:
    label = f"{server.host}:{server.port}" if server.port else server.host
    began = monotonic()
    try:
        addresses = _addresses(server, timeout)
    except OSError as error:
        what = f"{server.host}: {_reason(error)}"
        yield Finding("name", Level.BROKEN, what, "correct the host in the URL, or the name server")
        return
    ips = ", ".join(dict.fromkeys(str(address[4][0]) for address in addresses))
    if ips not in ("", server.host):
        yield Finding("name", Level.SOUND, f"{server.host} is {ips}", seconds=monotonic() - began)
    began = monotonic()
    try:
        connected = _connected(addresses, timeout)
    except OSError as error:
        remedy = "start the server, or correct the port, the socket or the firewall"
        yield Finding("tcp", Level.BROKEN, f"{label}: {_reason(error)}", remedy)
        return
    with connected:
        if server.port:
            yield Finding("tcp", Level.SOUND, f"{label} answers", seconds=monotonic() - began)
        if server.tls is not None:
            yield from _encrypt(server, label, connected)


def _addresses(server: Server, timeout: float) -> lookups.Addresses:
    if server.port:
        return lookups.addresses(server.host, server.port, timeout)
    return [(socket.AF_UNIX, socket.SOCK_STREAM, 0, "", server.host)]


def _connected(addresses: lookups.Addresses, timeout: float) -> socket.socket:
    """Return a socket to the first of *addresses* that answers. Raises the last error."""
    failure: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in addresses:
        made = socket.socket(family, kind, protocol)
        try:
            made.settimeout(timeout)
            made.connect(address)
        except OSError as error:
            made.close()
            failure = error
        except BaseException:
            made.close()
            raise
        else:
            return made
    raise failure


def _encrypt(server: Server, label: str, connected: socket.socket) -> Iterator[Finding]:
    assert server.tls is not None  # noqa: S101 - the caller asked
    began = monotonic()
    try:
        encrypted = server.tls(connected)
    except ssl.SSLCertVerificationError as error:
        what = f"{label}: the certificate is refused: {error.verify_message}"
        yield Finding("tls", Level.BROKEN, what, "renew it, or name the authority that signed it")
        return
    except OSError as error:
        remedy = "compare the TLS settings of both sides: port, versions, client certificate"
        yield Finding("tls", Level.BROKEN, f"{label}: {_reason(error)}", remedy)
        return
    with encrypted:
        what = f"{label} speaks {encrypted.version()}"
        yield Finding("tls", Level.SOUND, what, seconds=monotonic() - began)
        yield _validity(label, encrypted.getpeercert())


def _validity(label: str, certificate: dict[str, Any] | None) -> Finding:
    if not certificate:
        what = f"{label}: the certificate is not verified, so anybody may stand in for the server"
        return Finding("certificate", Level.WARNING, what, "let the URL's options verify it")
    until = certificate["notAfter"]
    days = (ssl.cert_time_to_seconds(until) - wall()) / 86_400
    what = f"{label}: the certificate is valid for {days:.0f} days, until {until}"
    if days < DAYS:
        return Finding("certificate", Level.WARNING, what, "renew it")
    return Finding("certificate", Level.SOUND, what)


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
