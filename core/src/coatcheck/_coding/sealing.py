"""
Compressing, signing and encrypting a record's bytes before they are stored, and the way back.

A record is authenticated together with its state and its task id, so that nobody can move it to another id
or pass it off as a record of another state.
"""

from __future__ import annotations

import os
from typing import Any, Final, NamedTuple

from ..errors import ConfigurationError, DecodeError, EncodeError, PluginError, SignatureError
from . import compression, envelope
from .envelope import Envelope
from .keys import Keys

#: Shorter records are not compressed.
DEFAULT_COMPRESS_OVER: Final = 1024

CHECKSUM: Final = "crc32"
SIGNED: Final = "hmac-sha256"
ENCRYPTED: Final = "aes-256-gcm"

_CHECKSUM_BYTES: Final = 4
_SIGNATURE_BYTES: Final = 32
#: Each record has a key of its own, made by a random salt, so that no number of records is too
#: many for one key.
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_SIGNING: Final = b"signing"
_ENCRYPTION: Final = b"encryption"


class Opened(NamedTuple):
    """The content of an envelope. `authentic` is true if one of the reader's keys made it."""

    state: str
    serializer: str
    body: bytes
    authentic: bool


class Sealer:
    """
    Puts records into envelopes, where one of its options asks for that, and opens any.

    Args:
        compress: "zstd", "zlib", or "celery", which is Celery's own marker and no envelope.
        compress_over: how many bytes a record has to have more than to be compressed.
        max_inflated: how many bytes a compressed record may have once it is inflated.
        signing: the keys that sign; the first one writes.
        encryption: the keys that encrypt; the first one writes. Then nothing is signed.
        accept_unsigned: read records that no key has made, although there are keys.
    """

    def __init__(
        self,
        *,
        compress: str | None = None,
        compress_over: int = DEFAULT_COMPRESS_OVER,
        max_inflated: int = compression.MAX_INFLATED,
        signing: Keys | None = None,
        encryption: Keys | None = None,
        accept_unsigned: bool = False,
    ) -> None:
        self._compress = compress
        self._over = compress_over
        self._max_inflated = max_inflated
        self._signing = signing
        self._encryption = encryption
        self._check()
        #: Whether there are keys.
        self.keyed: bool = signing is not None or encryption is not None
        #: Whether unsigned records are refused.
        self.guarded: bool = self.keyed and not accept_unsigned
        #: Whether records are compressed in a form that Celery reads.
        self.celerys: bool = compress == "celery"
        #: Whether records may be changed here at all before they are written.
        self.active: bool = self.keyed or compress is not None

    def _check(self) -> None:
        if self._compress not in (None, "celery", *compression.OURS):
            raise ConfigurationError(
                f"there is no compression {self._compress!r}: use zstd, zlib or celery"
            )
        if self._compress == "celery" and (self._signing or self._encryption):
            raise ConfigurationError(
                "compression='celery' is for Celery to read, which can read nothing that is "
                "signed or encrypted: use zstd or zlib"
            )
        if self._compress == "zstd":
            try:
                compression.compressed("zstd", b"")
            except ValueError as error:
                raise PluginError(f"compression='zstd': {error}") from error
        if self._encryption is not None:
            _aead()

    # -- writing --------------------------------------------------------------------------

    def seal(self, state: str, task_id: str, serializer: str, body: bytes) -> bytes:
        """
        Return the bytes to store for the record *body*: *body* itself, unless an option asks for more.
        """
        if self.celerys:
            return self.pack(body)
        packed, name = body, ""
        if self._compress is not None and len(body) > self._over:
            shorter = compression.compressed(self._compress, body)
            if self._pays(body, len(shorter)):
                packed, name = shorter, self._compress
        if not name and not self.keyed:
            return body
        try:
            sealed = self._sealed(packed, state, task_id, serializer=serializer, compression=name)
        except ValueError as error:
            raise EncodeError(serializer, "the record", str(error)) from error
        return sealed if self.keyed or len(sealed) < len(body) else body

    def _pays(self, body: bytes, stored: int) -> bool:
        """Whether *body* gets shorter by compression, and readers would inflate it again."""
        return stored < len(body) <= compression.allowed(stored, self._max_inflated)

    def pack(self, body: bytes) -> bytes:
        """
        Return *body* as Celery compresses it, or as it is where that is not shorter, or where
        readers would refuse to inflate it.
        """
        if len(body) <= self._over:
            return body
        packed = compression.marked(body)
        return packed if self._pays(body, len(packed)) else body

    def _sealed(self, body: bytes, state: str, task_id: str, **names: str) -> bytes:
        if self._encryption is not None:
            key = self._encryption.first
            head = envelope.head_of(state, task_id, **names, seal=ENCRYPTED, key=key)
            return head + _encrypted(self._encryption.derived(key, _ENCRYPTION), head, body)
        if self._signing is not None:
            key = self._signing.first
            head = envelope.head_of(state, task_id, **names, seal=SIGNED, key=key)
            return head + _digest(self._signing.derived(key, _SIGNING), head + body) + body
        head = envelope.head_of(state, task_id, **names, seal=CHECKSUM, key="")
        return head + _checksum(head, body) + body

    # -- reading --------------------------------------------------------------------------

    def open(self, task_id: str, data: bytes) -> Opened:
        """
        Open the envelope *data* of the record of *task_id* and return its content; "" stands for any id.

        A body that must be authentic and is not is neither decompressed nor decoded. Raises `SignatureError`
        or `DecodeError`.
        """
        try:
            found = envelope.parse(data)
        except ValueError as error:
            raise self._damaged(task_id, str(error)) from error
        packed, authentic = self._unsealed(task_id, found)
        if task_id not in ("", found.task_id):
            raise self._damaged(task_id, f"it was made for task {found.task_id[:200]!r}")
        body = self._opened(task_id, found.compression, packed)
        return Opened(found.state, found.serializer, body, authentic)

    def _damaged(self, task_id: str, reason: str) -> DecodeError | SignatureError:
        kind = SignatureError if self.guarded else DecodeError
        return kind(task_id, reason)

    def _unsealed(self, task_id: str, found: Envelope) -> tuple[bytes, bool]:
        """Return the body as it was before it was sealed, and whether one of our keys sealed it."""
        if found.seal == ENCRYPTED:
            return self._decrypted(task_id, found), True
        if found.seal == SIGNED:
            return self._verified(task_id, found)
        if self.guarded:
            raise unsigned(task_id)
        if found.seal != CHECKSUM:
            raise DecodeError(task_id, f"it is sealed by {found.seal!r}, unknown here: upgrade")
        check, body = found.body[:_CHECKSUM_BYTES], found.body[_CHECKSUM_BYTES:]
        if check != _checksum(found.head, body):
            raise DecodeError(task_id, "its checksum is not that of what is stored")
        return body, False

    def _verified(self, task_id: str, found: Envelope) -> tuple[bytes, bool]:
        signature, body = found.body[:_SIGNATURE_BYTES], found.body[_SIGNATURE_BYTES:]
        if self._signing is None and not self.guarded:
            return body, False
        key = _key(task_id, found, self._signing, "signing_keys", "signed")
        expected = _digest(key.derived(found.key, _SIGNING), found.head + body)
        if not _same(signature, expected):
            raise SignatureError(task_id, "its signature is not that of what is stored")
        return body, True

    def _decrypted(self, task_id: str, found: Envelope) -> bytes:
        if self._encryption is None and not self.guarded:
            raise DecodeError(
                task_id,
                f"it is encrypted with the key {found.key!r}: give that key in the option "
                "encryption_keys=",
            )
        key = _key(task_id, found, self._encryption, "encryption_keys", "encrypted")
        body = _decrypted(key.derived(found.key, _ENCRYPTION), found.head, found.body)
        if body is None:
            raise SignatureError(task_id, "what is stored is not what was encrypted")
        return body

    def _opened(self, task_id: str, name: str, packed: bytes) -> bytes:
        if not name:
            return packed
        limit = compression.allowed(len(packed), self._max_inflated)
        try:
            return compression.decompressed(name, packed, limit)
        except ValueError as error:
            raise DecodeError(task_id, str(error)) from error

    def inflated(self, task_id: str | None, data: bytes) -> bytes:
        """Decompress *data* from Celery. Raises `DecodeError`."""
        try:
            limit = compression.allowed(len(data), self._max_inflated)
            return compression.inflate(data, limit)
        except ValueError as error:
            raise DecodeError(task_id, str(error)) from error


def unsigned(task_id: str) -> SignatureError:
    """Return the error for a record that no key has made, where there have to be some."""
    return SignatureError(
        task_id,
        "it is neither signed nor encrypted, and this reader has keys: if it is older than "
        "these, say accept_unsigned=True until such records have expired",
    )


def _key(task_id: str, found: Envelope, keys: Keys | None, option: str, done: str) -> Keys:
    if keys is None or found.key not in keys:
        known = ", ".join(keys or ()) or "none"
        raise SignatureError(
            task_id,
            f"it is {done} with the key {found.key!r}, and the option {option}= has {known}",
        )
    return keys


def _digest(key: bytes, data: bytes) -> bytes:
    import hmac  # noqa: PLC0415 - only for those who have keys

    return hmac.digest(key, data, "sha256")


def _same(one: bytes, other: bytes) -> bool:
    """Whether both are equal, in a time that does not say how far they are."""
    import hmac  # noqa: PLC0415

    return hmac.compare_digest(one, other)


def _checksum(head: bytes, body: bytes) -> bytes:
    import zlib  # noqa: PLC0415 - only for those who compress

    return zlib.crc32(body, zlib.crc32(head)).to_bytes(_CHECKSUM_BYTES, "big")


def _encrypted(key: bytes, head: bytes, body: bytes) -> bytes:
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    cipher = _aead()(_digest(key, salt))
    encrypted: bytes = cipher.encrypt(nonce, body, head)
    return salt + nonce + encrypted


def _decrypted(key: bytes, head: bytes, sealed: bytes) -> bytes | None:
    """Decrypt *sealed*; return `None` if it was not encrypted with *key*."""
    start = _SALT_BYTES + _NONCE_BYTES
    if len(sealed) < start + _TAG_BYTES:
        return None
    salt, nonce = sealed[:_SALT_BYTES], sealed[_SALT_BYTES:start]
    cipher = _aead()(_digest(key, salt))
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - it is there, see `_aead`

    try:
        body: bytes = cipher.decrypt(nonce, sealed[start:], head)
    except InvalidTag:
        return None
    return body


def _aead() -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415
    except ImportError as error:
        raise PluginError(
            "encryption_keys= needs the package cryptography: pip install 'coatcheck[encryption]'"
        ) from error
    return AESGCM
