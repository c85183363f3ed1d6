"""
From Celery's configuration to a `Results`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from celery import states

import coatcheck
from coatcheck.serializers import BUILTINS
from coatcheck.url import URL

from .serializer import KombuSerializer, names_of

#: What opens the URL in `result_backend`; Celery takes it off.
PREFIX: Final = "coatcheck+"
#: A backend that coatcheck's own configuration names: `coatcheck://name`.
NAMED: Final = "coatcheck"
#: Celery's rule: a task that is delivered twice may become anything but a success another thing.
PROTECT: Final = frozenset({states.SUCCESS})
#: What is not about the store, or about what Celery's own backend does.
_CELERYS: Final = frozenset({
    "additional_connection_errors",
    "global_keyprefix",
    "polling_interval",
    "result_chord_ordered",
    "retry_policy",
    "visibility_timeout",
})  # fmt: skip
#: The end of a key prefix that needs no other; Celery's rule.
_ENDS: Final = ":_-."


def results_of(
    url: str | None,
    transport: Mapping[str, Any],
    *,
    serializer: str,
    accept: Iterable[str],
    expires: float | None,
) -> coatcheck.Results:
    """
    Return the `Results` that *url* and `result_backend_transport_options` mean. No I/O.

    What the URL says goes over what the settings say. Raises `ConfigurationError`.
    """
    parsed = URL(url or f"{NAMED}://default")
    known = {serializer, *(builtin.name for builtin in BUILTINS)}
    given: dict[str, Any] = {
        "serializer": KombuSerializer(serializer),
        "accept": [name for name in names_of(accept) if name in known],
        "expires": expires,
        "protect": PROTECT,
        **{name: value for name, value in transport.items() if name not in _CELERYS},
    }
    prefix = transport.get("global_keyprefix")
    if prefix:
        joint = "" if prefix[-1] in _ENDS else "_"
        given["key_prefix"] = f"{prefix}{joint}{coatcheck.results.DEFAULT_KEY_PREFIX}"
    options = {name: value for name, value in given.items() if name not in parsed.query}
    # Celery writes pickle where it is told to; who may read it is said by accept_content.
    options["unsafe_pickle"] = serializer == "pickle"
    if parsed.scheme == NAMED:
        return coatcheck.by_name(parsed.netloc or "default", **options)
    return coatcheck.by_url(url, **options)


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
