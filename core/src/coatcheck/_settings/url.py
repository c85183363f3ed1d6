"""
URLs of result backends: their parts, and a form without secrets.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from ..errors import ConfigurationError

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*\Z")
MASK: Final = "***"
#: How servers name the user whom they refuse.
_USERS: Final = re.compile(
    r"""\b(user|role) (?:(["'])(?:(?!\2).)*\2(?:@(["'])(?:(?!\3).)*\3)?|\S+(?= has no ))""",
    re.IGNORECASE,
)
#: Text in the place of a port that is not a port, such as the password in "redis://user:password". Skips
#: IPv6 addresses, which have colons too.
_PORTS: Final = re.compile(r"(?<=:)(?!\d*(?:[,;]|\Z))(?![^,;]*\])[^,;]+")


#: The text that may follow an @ inside an option's value: nothing, or another option.
_NO_HOST: Final = re.compile(r"(?:[^@/?]*&[A-Za-z][\w.\-]*=[^@]*)?\Z")


class URL:
    """
    A backend's URL. `str()` and `repr()` mask the user info and the values of the query.

    `scheme`, `rest` (everything behind `scheme://`, without the query) and `query` hold the parts
    unchanged, secrets included. A query option that is given twice keeps its last value.
    """

    __slots__ = ("query", "raw", "rest", "scheme")

    def __init__(self, url: str) -> None:
        scheme, separator, rest = url.partition("://")
        if not separator:
            scheme, _, rest = url.partition(":")
        if not _SCHEME.match(scheme):
            raise ConfigurationError(
                f"{masked(url)!r} is not a URL: write scheme://..., such as sqlite:///results.db"
            )
        if not all(map(_is_clear, rest.split(f";{scheme}://"))):
            raise ConfigurationError(
                f"{masked(url)!r} can be read in more than one way: write @ / ? as %40 %2F %3F in "
                "the user name and the password, and @ as %40 behind the host"
            )
        self.raw: str = url
        self.scheme: str = scheme.lower()
        self.rest: str
        self.rest, _, query = rest.partition("?")
        self.query: dict[str, str] = dict(parse_qsl(query, keep_blank_values=True))

    def __str__(self) -> str:
        return masked(self.raw)

    def __repr__(self) -> str:
        return f"URL({masked(self.raw)!r})"

    @property
    def path(self) -> str:
        """The part behind the host, with its leading slash, percent-decoded."""
        return unquote(self.rest[self.rest.find("/") :]) if "/" in self.rest else ""

    @property
    def netloc(self) -> str:
        """User info and hosts, as written."""
        return self.rest.partition("/")[0]


def _is_clear(rest: str) -> bool:
    """
    Return whether the end of the user info is clear. If not, part of a password could be mistaken for a
    path or an option, and be shown.
    """
    host = re.split("[/?]", rest, maxsplit=1)[0]
    if not host or "@" not in rest[len(host) :]:
        return True
    # Azure has "?...&appName=@account@": that is an option's value if nothing behind its last @
    # could be a host.
    head, _, query = rest.partition("?")
    tail = query.rpartition("@")[2]
    return "@" in host and "@" not in head[len(host) :] and bool(_NO_HOST.match(tail))


def masked(url: str) -> str:
    """
    Return *url* with the user info of every host, and every query value, as `***`.

    Hides too much rather than too little: everything before the last `@` may be user info.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or not _SCHEME.match(scheme):
        return _masked_part(url)
    # Several URLs may stand in one: "sentinel://:pw@h1;sentinel://:pw@h2".
    start = f"{scheme}://"
    return start + f";{start}".join(map(_masked_part, rest.split(f";{start}")))


def without_users(text: str) -> str:
    """Return a server's message *text* without the names of its users."""
    return _USERS.sub(lambda found: f"{found[1]} {found[2] or ''}{MASK}{found[2] or ''}", text)


def _masked_part(rest: str) -> str:
    head, mark, query = rest.partition("?")
    if "@" in query and not _is_clear(rest):  # of a password with a question mark in it, perhaps
        return MASK
    _, at, shown = head.rpartition("@")
    host, slash, path = shown.partition("/")
    shown = _PORTS.sub(MASK, host) + slash + path
    pairs = [pair.partition("=") for pair in query.split("&")]
    values = "&".join(f"{name}={MASK}" if equals else MASK for name, equals, _ in pairs)
    return f"{MASK + at if at else ''}{shown}{mark}{values if mark else ''}"


def host_and_port(url: URL, item: str, *, port: int, path: str) -> tuple[str, int]:
    """
    Return host and port of *item*, one of the servers in *url*. Missing parts become localhost and *port*.
    The error's advice shows *path* behind the port.

    Raises `ConfigurationError`. The error does not show host and port: they may be part of a password.
    """
    try:
        parts = urlsplit(f"//{item}")
        host, given = parts.hostname, parts.port
    except ValueError:
        parts = None
    if parts is None or "#" in url.rest:
        raise ConfigurationError(
            f"{url}: host or port cannot be read; write {url.scheme}://user:password@host:"
            f"port/{path}, with special characters in the password as %XX"
        )
    return unquote(host or "localhost"), given or port
