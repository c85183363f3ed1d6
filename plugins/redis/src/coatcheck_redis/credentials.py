"""
User and password from the application's credential provider, which is asked at each connect.
"""

from __future__ import annotations

import asyncio
from typing import Any

from redis import exceptions
from redis.credentials import CredentialProvider

from coatcheck.plugin import pass_on_interruption

#: The password, or the user and the password.
Pair = tuple[str] | tuple[str, str]


class Credentials(CredentialProvider):
    """Asks *provider*. Its errors become the driver's, so that the operation is repeated."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider

    def get_credentials(self) -> Pair:
        try:
            return self._provider.get_credentials()  # type: ignore[no-any-return]
        except Exception as error:
            raise _failed(error) from error

    async def get_credentials_async(self) -> Pair:
        own = getattr(type(self._provider), "get_credentials_async", None)
        if own is None or own is getattr(CredentialProvider, "get_credentials_async", None):
            # The provider is synchronous and may block.
            return await asyncio.to_thread(self.get_credentials)
        try:
            return await self._provider.get_credentials_async()  # type: ignore[no-any-return]
        except Exception as error:
            raise _failed(error) from error


def _failed(error: Exception) -> exceptions.ConnectionError:
    pass_on_interruption(error)
    # The text of the error may hold a token. The cause has it.
    return exceptions.ConnectionError(f"the credential provider failed: {type(error).__name__}")


def provider(value: Any) -> Credentials:
    """Read the option `credential_provider`. Raises `TypeError` for other objects."""
    if not callable(getattr(value, "get_credentials", None)) or isinstance(value, type):
        raise TypeError("give an object of redis-py's CredentialProvider, in code")
    return Credentials(value)
