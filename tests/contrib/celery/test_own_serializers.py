"""
Serializers and types that an application registered with kombu: written and read by them, on every
kind of store, by the backend and by `from_celery_config`.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import zlib
from datetime import datetime, timedelta
from decimal import Decimal

import kombu.exceptions
import kombu.serialization
import kombu.utils.json
import pytest
from celery import states
from celery.app.task import Context
from celery.result import AsyncResult, GroupResult
from kombu.utils.encoding import bytes_to_str
from support.celery_tasks import Refused, application

import coatcheck
import coatcheck.aio

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")

WHEN = datetime(2026, 11, 30, 12, 34, 56)
VALUE = {"when": WHEN, "seen": {1, 2}, "n": [1, "ä", None]}


def _default(value):
    if isinstance(value, datetime):
        return {"__when__": value.isoformat()}
    if isinstance(value, set):
        return {"__set__": sorted(value)}
    raise TypeError(type(value))


def _hook(found):
    if "__when__" in found:
        return datetime.fromisoformat(found["__when__"])
    return set(found["__set__"]) if "__set__" in found else found


def _dumps(value, **options):
    return json.dumps(value, default=_default, **options)


def _loads(data):
    return json.loads(
        bytes_to_str(bytes(data) if not isinstance(data, str) else data), object_hook=_hook
    )


#: The arguments of `kombu.serialization.register`.
OWN = {
    "text": ("myjson", _dumps, _loads, "application/x-myjson", "utf-8"),
    "sorted-bytes": (
        "orjson",
        lambda value: _dumps(value, sort_keys=True, indent=1).encode(),
        _loads,
        "application/x-orjson",
        "binary",
    ),
    "packed": (
        "zipped",
        lambda value: zlib.compress(_dumps(value).encode()),
        lambda data: _loads(zlib.decompress(data)),
        "application/x-zipped",
        "binary",
    ),
    "json-anew": ("json", _dumps, _loads, "application/json", "utf-8"),
    "same-type": ("ourjson", _dumps, _loads, "application/json", "utf-8"),
}
STORES = {
    "memory": "coatcheck+memory://own",
    "file": "coatcheck+file://{directory}/files",
    "sqlite": "coatcheck+sqlite:///{directory}/coatcheck.db",
    "sql": "coatcheck+db+sqlite:///{directory}/celery.db",
    "redis": "coatcheck+{redis}",
    "memcached": "coatcheck+{memcached}",
    "mongodb": "coatcheck+{mongodb}",
}


@pytest.fixture
def registries():
    """Kombu's registries, put back as they were."""
    registry = kombu.serialization.registry
    kept = [
        (owner, name, dict(getattr(owner, name)))
        for owner, name in [
            (registry, "_encoders"),
            (registry, "_decoders"),
            (registry, "type_to_name"),
            (registry, "name_to_type"),
            (kombu.utils.json, "_encoders"),
            (kombu.utils.json, "_decoders"),
        ]
    ]
    yield
    for owner, name, before in kept:
        getattr(owner, name).clear()
        getattr(owner, name).update(before)


@pytest.fixture(params=list(OWN))
def own(request, registries):
    """The name of a serializer that the application registered."""
    kombu.serialization.register(*OWN[request.param])
    return OWN[request.param][0]


@pytest.fixture(params=list(STORES))
def url(request, tmp_path):
    """Where results are."""
    template = STORES[request.param]
    servers = {
        name: request.getfixturevalue(name)
        for name in ("redis", "memcached", "mongodb")
        if f"{{{name}}}" in template
    }
    return template.format(directory=tmp_path, **servers)


@pytest.fixture
def make():
    """Makes applications of which the backends are closed in the end."""
    made = []

    def application_of(url, **conf):
        app = application("memory://", url, **conf)
        made.append(app)
        return app

    yield application_of
    for app in made:
        backend = app.backend
        if hasattr(backend, "results"):
            backend.results.close()
        elif hasattr(backend, "_get_connection"):
            backend._get_connection().close()
        elif hasattr(backend, "client"):
            backend.result_consumer.stop()
            backend.client.connection_pool.disconnect()


def conf_of(own):
    return {"result_serializer": own, "accept_content": [own], "result_extended": False}


def test_values_failures_and_groups(own, url, make):
    """Values, failures, progress and groups come back through the application's serializer."""
    prefix = f"{own}-{url.partition(':')[0]}"
    app = make(url, **conf_of(own))
    backend = app.backend
    backend.store_result(f"{prefix}-p", {"at": WHEN}, "PROGRESS")
    backend.store_result(f"{prefix}-v", VALUE, states.SUCCESS)
    backend.store_result(f"{prefix}-v", 2, states.SUCCESS)
    backend.store_result(f"{prefix}-f", Refused("no", WHEN), states.FAILURE, traceback="there")
    GroupResult(f"{prefix}-g", [AsyncResult(f"{prefix}-v", app=app)], app=app).save(backend)
    error = backend.get_result(f"{prefix}-f")

    assert {"at": WHEN} == backend.get_result(f"{prefix}-p")
    assert VALUE == backend.get_result(f"{prefix}-v")
    assert VALUE == backend.wait_for(f"{prefix}-v", timeout=5)["result"]
    assert [VALUE] == GroupResult.restore(f"{prefix}-g", backend, app=app).get(timeout=5)
    assert (Refused, ("no", WHEN)) == (type(error), error.args)


def test_chords(own, url, make):
    """A chord's body gets what its members returned."""
    prefix = f"{own}-{url.partition(':')[0]}"
    app = make(url, **conf_of(own), task_always_eager=False)
    sent = []
    backend = app.backend
    backend._publish = lambda callback, values: sent.append(values)
    backend.set_chord_size(f"{prefix}-c", 2)
    body = app.t.total.s()
    for index in range(2):
        request = Context(
            id=f"{prefix}-{index}", group=f"{prefix}-c", group_index=index, chord=body
        )
        backend.mark_as_done(f"{prefix}-{index}", {"when": WHEN, "n": index}, request=request)

    assert [[{"when": WHEN, "n": 0}, {"when": WHEN, "n": 1}]] == sent


@pytest.mark.parametrize("theirs", ["{redis}", "file://{directory}", "{mongodb}"])
def test_beside_celerys_own(own, theirs, make, request, tmp_path):
    """What Celery's own backend wrote is read here, and the other way round."""
    needed = theirs.strip("{}")
    server = request.getfixturevalue(needed) if needed in ("redis", "mongodb") else None
    url = theirs.format(directory=tmp_path, redis=server, mongodb=server)
    prefix = f"beside-{own}"
    celerys = make(url, **conf_of(own)).backend
    ours = make(f"coatcheck+{url}", **conf_of(own)).backend
    celerys.store_result(f"{prefix}-theirs", VALUE, states.SUCCESS)
    ours.store_result(f"{prefix}-ours", VALUE, states.SUCCESS)

    assert VALUE == ours.get_result(f"{prefix}-theirs")
    assert VALUE == celerys.get_result(f"{prefix}-ours")


def test_serializer_that_is_not_accepted(registries, make):
    """A serializer that `accept_content` leaves out is refused, though its records look like JSON."""
    kombu.serialization.register(*OWN["text"])
    backend = make("coatcheck+memory://refused", result_serializer="myjson").backend
    backend.store_result("t", VALUE, states.SUCCESS)

    with pytest.raises(kombu.exceptions.ContentDisallowed, match="myjson"):
        backend.get_result("t")
    assert states.SUCCESS == backend.results.get_state("t")


def test_from_celery_config(own, url):
    """In a process that has the application's registrations, its configuration brings them along."""
    prefix = f"config-{own}-{url.partition(':')[0]}"
    config = {"result_backend": url, **conf_of(own)}

    async def read_there():
        async with coatcheck.aio.from_celery_config(config) as results:
            await results.store_result(f"{prefix}-2", VALUE)
            return [await results.AsyncResult(f"{prefix}-{n}").get(timeout=5) for n in range(1, 3)]

    with coatcheck.from_celery_config(config) as results:
        results.store_result(f"{prefix}-1", VALUE)
        found = results.get_many([f"{prefix}-1"])
        assert VALUE == found[f"{prefix}-1"].result
        if "memory" not in url:  # of which the other side has another
            assert [VALUE, VALUE] == asyncio.run(read_there())


class Money:
    def __init__(self, cents):
        self.cents = cents

    def __eq__(self, other):
        return type(other) is Money and other.cents == self.cents

    def __hash__(self):
        return hash(self.cents)


@pytest.fixture
def types(registries):
    """A type of the application's own, and one of Python's that it writes in another way."""
    kombu.utils.json.register_type(
        Money, "money", lambda money: {"cents": money.cents}, Money._read
    )
    kombu.utils.json.register_type(
        Decimal, "decimal", lambda value: ["D", str(value)], lambda read: Decimal(read[1])
    )


Money._read = staticmethod(lambda read: Money(read["cents"]))
PRICES = {"price": Money(5), "all": [Money(1), Decimal("2.50")], "plain": 1}


def test_registered_types(types, url, make):
    """Types that were registered with kombu are written and read, also in place of kombu's own."""
    backend = make(url).backend
    task_id = f"types-{url.partition(':')[0]}"
    backend.store_result(task_id, PRICES, states.SUCCESS)
    config = {"result_backend": url}
    with coatcheck.from_celery_config(config) as results:
        results.store_result(f"{task_id}-2", PRICES)
        both = [task_id, f"{task_id}-2"] if "memory" not in url else [f"{task_id}-2"]

        assert [PRICES] * len(both) == [results.get_result(id_) for id_ in both]
    if "memory" not in url:
        assert PRICES == backend.get_result(f"{task_id}-2")
    assert PRICES == backend.get_result(task_id)


def test_registered_types_beside_ours(types):
    """Beside them coatcheck keeps what it always keeps, and refuses what it always refuses."""
    value = {1: {Money(1), Money(2)}, "t": timedelta(1), "n": [PRICES] * 20, "__type__": "money"}
    with coatcheck.from_celery_config({"result_backend": "memory://"}) as results:
        results.store_result("t", value)
        assert value == results.get_result("t")
        with pytest.raises(coatcheck.EncodeError, match="object"):
            results.store_result("o", [object()])


def test_nothing_is_imported():
    """Without kombu in the process its serializers are not looked for."""
    program = (
        "import sys, coatcheck\n"
        "with coatcheck.from_celery_config({'result_backend': 'memory://'}) as results:\n"
        "    results.store_result('t', 1)\n"
        "assert not [name for name in sys.modules if name.startswith(('kombu', 'celery'))]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
