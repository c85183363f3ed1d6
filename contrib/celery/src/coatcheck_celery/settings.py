"""
From Celery's configuration to a `Results`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any, Final

from celery import states

import coatcheck
from coatcheck.plugin import (
    BUILTIN_SERIALIZERS,
    DEFAULT_NAME,
    URL,
    KombuSerializer,
    Serializer,
    accepted_content,
    backend_class,
    celeryconfig,
    choose_backend,
    has_keys,
    transport_options,
)

#: Celery's rule: a task that is delivered twice may replace any state but a success.
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

    The URL overrides `result_backend_transport_options`, which overrides the other settings. Raises
    `ConfigurationError`.
    """
    transport = transport_options(conf)
    kombus: Serializer = KombuSerializer(serializer)
    known = {serializer, *(builtin.name for builtin in BUILTIN_SERIALIZERS)}
    parsed = URL(url or f"{celeryconfig.NAMED}://{DEFAULT_NAME}")
    cls = _class_of(parsed)
    common = celeryconfig.common_options(
        {"result_backend_transport_options": transport}, read_only=True
    )
    if not has_keys(cls):
        common.pop("key_prefix", None)  # other backends of Celery ignore it, too
    options: dict[str, Any] = {
        **common,
        "serializer": kombus,
        "accept": [name for name in accepted_content(accept) if name in known],
        "expires": expires,
        "protect": PROTECT,
        **celeryconfig.own_options(conf),
    }
    # Celery writes pickle if the settings ask for it; accept_content decides who may read it.
    options["unsafe_pickle"] = serializer == "pickle"
    if parsed.scheme == celeryconfig.NAMED:
        return _named(parsed.netloc or DEFAULT_NAME, options)
    raw, theirs = cls.celery_options(parsed, conf)
    return coatcheck.by_url(raw, **theirs, **_without(options, parsed.query))


def _class_of(url: URL) -> Any:
    if url.scheme == celeryconfig.NAMED:
        url = URL(choose_backend(url.netloc or DEFAULT_NAME, None).url)
    return backend_class(url.scheme)


def _named(name: str, options: Mapping[str, Any]) -> coatcheck.Results:
    chosen = choose_backend(name, None)
    said = {**chosen.options, **URL(chosen.url).query}
    return coatcheck.by_name(name, **_without(options, said))


def _without(options: Mapping[str, Any], said: Container[str]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in said}


def patience_of(policy: Mapping[str, Any]) -> float | None:
    """Return how many seconds Celery's *policy* repeats a write; `None` means for ever."""
    retries = policy.get("max_retries")
    if retries is None:
        return None
    start, step, most = (
        float(policy.get(f"interval_{name}") or 0) for name in ("start", "step", "max")
    )
    return sum(min(start + step * n, most) for n in range(int(retries)))
