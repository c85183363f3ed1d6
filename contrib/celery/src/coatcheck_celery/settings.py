"""
From Celery's configuration to a `Results`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any, Final

from celery import states

import coatcheck
from coatcheck.backend import KeyValueBackend
from coatcheck.celeryconfig import (
    NAMED,
    common_options,
    own_options,
    transport_options,
)
from coatcheck.config import DEFAULT_NAME
from coatcheck.kombus import KombuSerializer, accepted
from coatcheck.resolver import SYNC, backend_class, choose
from coatcheck.serializers import BUILTINS, Serializer
from coatcheck.url import URL

#: Celery's rule: a task that is delivered twice may become anything but a success another thing.
PROTECT: Final = frozenset({states.SUCCESS})


def results_of(
    url: str | None,
    conf: Mapping[str, Any],
    *,
    serializer: str,
    accept: Iterable[str],
    expires: float | None,
) -> coatcheck.Results:
    """
    Return the `Results` that *url* and the settings of an application mean. No I/O.

    What the URL says goes over `result_backend_transport_options`, and that over the other
    settings. Raises `ConfigurationError`.
    """
    transport = transport_options(conf)
    kombus: Serializer = KombuSerializer(serializer)
    known = {serializer, *(builtin.name for builtin in BUILTINS)}
    parsed = URL(url or f"{NAMED}://{DEFAULT_NAME}")
    cls = _class_of(parsed)
    common = common_options({"result_backend_transport_options": transport}, read_only=True)
    if not issubclass(cls, KeyValueBackend):
        common.pop("key_prefix", None)  # Celery's backends for these leave it alone, too
    options: dict[str, Any] = {
        **common,
        "serializer": kombus,
        "accept": [name for name in accepted(accept) if name in known],
        "expires": expires,
        "protect": PROTECT,
        **own_options(conf),
    }
    # Celery writes pickle where it is told to; who may read it is said by accept_content.
    options["unsafe_pickle"] = serializer == "pickle"
    if parsed.scheme == NAMED:
        return _named(parsed.netloc or DEFAULT_NAME, options)
    raw, theirs = cls.celery_options(parsed, conf)
    return coatcheck.by_url(raw, **theirs, **_without(options, parsed.query))


def _class_of(url: URL) -> Any:
    if url.scheme == NAMED:
        url = URL(choose(url.netloc or DEFAULT_NAME, None, SYNC).url)
    return backend_class(url.scheme, SYNC)


def _named(name: str, options: Mapping[str, Any]) -> coatcheck.Results:
    chosen = choose(name, None, SYNC)
    said = {**chosen.options, **URL(chosen.url).query}
    return coatcheck.by_name(name, **_without(options, said))


def _without(options: Mapping[str, Any], said: Container[str]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in said}


def patience_of(policy: Mapping[str, Any]) -> float | None:
    """
    Return for how many seconds a write is repeated under Celery's *policy*; `None`: for ever.
    """
    retries = policy.get("max_retries")
    if retries is None:
        return None
    start, step, most = (
        float(policy.get(f"interval_{name}") or 0) for name in ("start", "step", "max")
    )
    return sum(min(start + step * n, most) for n in range(int(retries)))
