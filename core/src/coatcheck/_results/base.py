"""
The common base of the synchronous and the asyncio `Results`. No I/O.
"""

from __future__ import annotations

import logging

from .._backends.backend import BaseBackend, Capability
from .._coding.codec import Codec
from .._coding.ownclasses import OwnClasses
from .._record.meta import ResultMeta
from .._settings.options import CODEC_OPTIONS, CORE_OPTIONS, DEFAULTS, Options, read_options
from .hooks import hooks_of
from .misuse import HoldsConnections
from .writing import Writer

_logger = logging.getLogger("coatcheck")


class ResultsBase(HoldsConnections):
    """The options of a `Results`, and all that they decide."""

    #: Where records are kept.
    backend: BaseBackend[ResultMeta]

    def __init__(self, name: str, options: Options) -> None:
        given = dict(options)
        plugins, types = options.get("plugins", ()), options.get("types", ())
        given.pop("plugins", None)
        given.pop("types", None)
        where = f"{type(self).__name__}()"
        settings = {**DEFAULTS, **read_options(given, CORE_OPTIONS, where=where)}
        self._codec = Codec(**{option: settings[option] for option in CODEC_OPTIONS})
        if types:
            self._codec.own_classes = OwnClasses(types)
        self._writer = Writer(
            self._codec,
            expires=settings["expires"],
            protect=settings["protect"],
            read_only=settings["read_only"],
        )
        self._key_prefix: str = settings["key_prefix"]
        self._safety_look: float = settings["safety_look"]
        self._operation_timeout: float = settings["operation_timeout"]
        self._hooks = hooks_of(plugins, name)
        self._name = name
        self._told_of_loss = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}>"

    @property
    def expires(self) -> float | None:
        """How long records live by default, in seconds; `None` keeps them."""
        return self._writer.expires

    @property
    def protect(self) -> frozenset[str]:
        """The states whose record is never replaced."""
        return self._writer.protect

    @property
    def capabilities(self) -> Capability:
        """The abilities of the store."""
        return self.backend.capabilities

    @property
    def trouble(self) -> Exception | None:
        """The error that makes an operation repeat now; `None` while all succeed."""
        return self.backend.trouble

    @property
    def polling(self) -> Exception | None:
        """
        The error that makes waits poll although the store can wake them; `None` while it wakes them, and
        before the first wait. In asyncio each loop has its own.
        """
        return self.backend.polling

    def _lost_to_first(self, meta: ResultMeta) -> None:
        """Log, once, that *meta* was not stored: many callers ignore the return value."""
        if meta.ready and not self._told_of_loss:
            self._told_of_loss = True
            _logger.warning(
                "the %s of task %r was not stored, because the task is over already and its first "
                "record stays: forget() the task first, or use another id (said once)",
                meta.status,
                meta.task_id,
            )

    def _hint(self) -> str:
        """Return a likely reason why nothing is stored."""
        if Capability.SHARED in self.capabilities:
            return ""
        return (
            f"{self._name or type(self.backend).__name__} is seen by one process only: if another "
            "process stores the result, use a store that both can reach"
        )
