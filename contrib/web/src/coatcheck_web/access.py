"""
Access to the gateway, and headers that keep browsers from guessing the type of its answers.
"""

from __future__ import annotations

import hmac
from base64 import b64decode
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .answers import JSONAnswer

#: Says whether a request is allowed, in place of the token.
Authorize = Callable[[HTTPConnection], bool]

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Access:
    """
    Middleware that answers 401 or 403 to whoever may not use *app*.

    Args:
        token: clients send it as `Authorization: Bearer TOKEN`, browsers as a password. Without one, only clients on this machine
            are served, and only under a name of this machine: a page of another site could otherwise
            point its own name here.
        authorize: decides instead, for applications with users of their own.
    """

    def __init__(
        self, app: ASGIApp, *, token: str | None = None, authorize: Authorize | None = None
    ) -> None:
        self._app = app
        self._token = token
        self._authorize = authorize

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(HTTPConnection(scope))

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await (refusal or self._app)(scope, receive, send_guarded)

    def _refusal(self, request: HTTPConnection) -> JSONAnswer | None:
        if self._authorize is not None:
            if not self._authorize(request):
                return _error(403, "you may not see this")
        elif self._token is not None:
            if not _has_token(request.headers.get("authorization", ""), self._token):
                return _error(401, "send the token: Authorization: Bearer TOKEN", challenge=True)
        elif not (
            is_local(request.client and request.client.host) and is_local(request.url.hostname)
        ):
            return _error(403, "without a token, only clients on this machine are served")
        if request.scope["method"] not in _SAFE and not _is_own_page(request):
            return _error(403, "a page of another site may change nothing here")
        return None


def _has_token(header: str, token: str) -> bool:
    """Whether *header* has the token, or as browsers ask for it: as the password of any user."""
    scheme, _, given = header.partition(" ")
    if scheme.lower() == "basic":
        try:
            given = b64decode(given, validate=True).decode().partition(":")[2]
        except ValueError:
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given.encode(), token.encode())


def is_local(host: str | None) -> bool:
    """Whether *host* is a name or an address of this machine."""
    if host is None or host == "localhost":
        return host is not None
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_own_page(request: HTTPConnection) -> bool:
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def _error(status: int, message: str, *, challenge: bool = False) -> JSONAnswer:
    headers = {"WWW-Authenticate": 'Basic realm="coatcheck"'} if challenge else None
    return JSONAnswer({"error": message}, status, headers)
