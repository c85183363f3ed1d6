"""
The backend by itself: its URL, its settings, what it stores and reads. No worker.
"""

from __future__ import annotations

import gc
import os
import pickle
import threading
import time
from datetime import timedelta

import celery.exceptions
import kombu.exceptions
import pytest
from celery import states
from celery.app.task import Context
from celery.exceptions import ImproperlyConfigured
from celery.result import ResultSet
from kombu.utils.json import register_type
from support.celery_tasks import Refused, application
from support.redis import RedisServer

import coatcheck
from coatcheck.testing.threads import until
from coatcheck_celery import CoatcheckBackend
from coatcheck_celery.settings import patience_of


def ttl(server, task_id, prefix=""):
    """Return how long the record of a task is to live, in seconds; -1: for ever."""
    return server.ask("TTL", f"{prefix}celery-task-meta-{task_id}")


def calls(server):
    """Return how often the server was asked for what, but for what tests ask."""
    with server.client as client:
        found = client.info("commandstats")
    ours = ("cmdstat_info", "cmdstat_pubsub", "cmdstat_hello", "cmdstat_client")
    return {name: stats["calls"] for name, stats in found.items() if not name.startswith(ours)}


# -- where it is --------------------------------------------------------------------------------


def test_secrets_are_masked(backend_of):
    """The URL is shown without secrets, and had with them."""
    url = "coatcheck+redis://user:secret@localhost:6379/0?client_name=hidden"
    backend = backend_of(url)

    assert "coatcheck+redis://***@localhost:6379/0?client_name=***" == backend.as_uri()
    assert url == backend.as_uri(include_password=True)


@pytest.mark.parametrize("name", ["coatcheck", "coatcheck://", "coatcheck://default"])
def test_named_backend(tmp_path, monkeypatch, name):
    """A backend of coatcheck's configuration is had by its name; what that says counts."""
    file = tmp_path / "coatcheck.toml"
    file.write_text('[backends.default]\nurl = "memory://named?expires=60"\nprotect = "REVOKED"\n')
    monkeypatch.setenv("COATCHECK_CONFIG", str(file))
    backend = application("memory://", name, result_expires=5).backend

    assert isinstance(backend, CoatcheckBackend)
    assert backend.as_uri().startswith("coatcheck")
    assert 60 == backend.expires
    assert {"REVOKED"} == backend.results.protect


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("coatcheck+nosuch://", "nosuch"),
        ("coatcheck+redis://localhost?nosuch=1", "nosuch"),
        ("coatcheck+redis://localhost?expires=-1", "expires"),
    ],
)
def test_wrong_url(url, message):
    """What is wrong with the URL is said as Celery says such things."""
    with pytest.raises(ImproperlyConfigured, match=message):
        _ = application("memory://", url).backend


def test_wrong_option():
    """An option that nobody knows is an error, those of Celery's own backends are not."""
    known = {"visibility_timeout": 3600, "retry_policy": {"timeout": 5.0}, "master_name": "m"}
    backend = application(
        "memory://", "coatcheck+memory://", result_backend_transport_options=known
    ).backend
    assert backend.results.protect == {"SUCCESS"}
    app = application(
        "memory://", "coatcheck+memory://", result_backend_transport_options={"protekt": 1}
    )
    with pytest.raises(ImproperlyConfigured, match="protekt"):
        _ = app.backend


#: What an application of ours gave to its broker and, by the same dict, to the backend.
BROKERS = {
    "fanout_prefix": True, "fanout_patterns": True, "socket_keepalive_options": {1: 1},
    "priority_steps": [0, 3, 6, 9], "queue_order_strategy": "sorted", "sep": ":",
    "max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5,
    "visibility_timeout": 3600, "global_keyprefix": "shop", "socket_timeout": 7,
    "socket_keepalive": True, "max_connections": 5, "health_check_interval": 25,
    "client_name": "shop", "retry_on_timeout": True, "confirm_publish": True, "region": "eu",
    "predefined_queues": {}, "wait_time_seconds": 5, "polling_interval": 1, "heartbeat": 9,
}  # fmt: skip


@pytest.mark.parametrize(
    "url",
    [
        "memory://", "file:///tmp/x", "sqlite:////tmp/x.db", "db+sqlite:////tmp/x.db",
        "redis://h", "rediss://h", "redis+cluster://h", "sentinel://h?master_name=m",
        "mongodb://h/db", "memcached://h", "postgresql://h/db", "mysql://h/db", "rpc://h",
    ],
)  # fmt: skip
def test_options_of_the_broker(url):
    """A dict that serves the broker as well stops no application, whatever the store is."""
    app = application(
        "memory://", f"coatcheck+{url}", result_backend_transport_options=dict(BROKERS)
    )
    app.backend.results.close()
    config = {"result_backend": url, "result_backend_transport_options": BROKERS}
    coatcheck.from_celery_config(config).close()


def test_options_of_broker_and_store():
    """Those that the store has by the same name are followed, after the URL."""
    settings = {
        url: application(
            "memory://", f"coatcheck+{url}", result_backend_transport_options=dict(BROKERS)
        ).backend.results.backend.backend._settings
        for url in ("redis://h?client_name=mine", "memcached://h")
    }
    redis, memcached = settings.values()

    assert ("mine", 7.0) == (redis.connection["client_name"], redis.connection["socket_timeout"])
    assert [5, 5] == [redis.max_connections, memcached.max_connections]


def test_settings_of_the_store(unit_server):
    """Celery's settings of its own backend for the store mean the same."""
    app = application(
        "memory://",
        "coatcheck+redis://",
        redis_host="127.0.0.1",
        redis_port=unit_server.port,
        redis_client_name="ours",
    )
    app.backend.store_result("t", 1, states.SUCCESS)

    assert any(b"name=ours" in line for line in unit_server.ask("CLIENT", "LIST").splitlines())
    app.backend.results.close()
    unit_server.ask("FLUSHALL")


def test_pickled_handle(backend_of):
    """A result can be pickled; its backend is found again."""
    backend = backend_of()
    backend.store_result("t", 579, states.SUCCESS)
    backend.app.set_current()
    handle = pickle.loads(pickle.dumps(backend.app.AsyncResult("t")))

    assert 579 == handle.get(timeout=5)
    assert handle.backend is backend


def test_pickled_backend_elsewhere(backend_of):
    """Where the application has another backend, a backend of its own is made."""
    backend = backend_of()
    application("memory://", "coatcheck+memory://").set_current()
    made = pickle.loads(pickle.dumps(backend))
    made.store_result("t", 1, states.SUCCESS)
    made.results.close()

    assert backend.url == made.url
    assert 1 == backend.get_result("t")


def test_threads_share_the_backend(backend_of):
    """All threads of an application have one backend, over the setting."""
    app = backend_of(result_backend_thread_safe=False).app
    seen = []
    thread = threading.Thread(target=lambda: seen.append(app.backend))
    thread.start()
    thread.join()

    assert [app.backend] == seen


# -- what is replaced ---------------------------------------------------------------------------


def test_success_is_protected(backend_of):
    """By default only SUCCESS stays, whoever comes after it."""
    backend = backend_of()
    backend.store_result("t", ValueError(), states.FAILURE)
    backend.store_result("t", None, states.STARTED)
    backend.store_result("t", 1, states.SUCCESS)
    backend.store_result("t", 2, states.SUCCESS)
    backend.store_result("t", ValueError(), states.FAILURE)

    assert (states.SUCCESS, 1) == (backend.get_state("t"), backend.get_result("t"))


@pytest.mark.parametrize("where", ["url", "options"])
def test_what_is_protected_can_be_said(unit_server, backend_of, where):
    """With `protect` the first ready record stays."""
    url = f"coatcheck+{unit_server.url}"
    options = {"protect": ["SUCCESS", "FAILURE", "REVOKED"]}
    backend = (
        backend_of(f"{url}?protect=SUCCESS,FAILURE,REVOKED")
        if where == "url"
        else backend_of(url, result_backend_transport_options=options)
    )
    backend.store_result("t", ValueError(), states.FAILURE)
    backend.store_result("t", 1, states.SUCCESS)

    assert states.FAILURE == backend.get_state("t")


# -- how long it lives --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expires", "seconds"), [(60, 60), (timedelta(minutes=2), 120), (0, -1), (None, -1)]
)
def test_expires(unit_server, backend_of, expires, seconds):
    """Records live as long as the setting says; 0 and None keep them."""
    backend = backend_of(result_expires=expires)
    backend.store_result("t", 1, states.SUCCESS)

    assert seconds - 1 <= ttl(unit_server, "t") <= seconds


def test_expires_of_failures(unit_server, backend_of):
    """Failures may live for another time, and so may the members of a chord."""
    backend = backend_of(result_expires=60, result_failure_expires=10, result_chord_expires=600)
    member = Context(id="m", chord={"task": "same"}, group="g", group_index=0)
    backend.store_result("ok", 1, states.SUCCESS)
    backend.store_result("no", ValueError(), states.FAILURE)
    backend.store_result("m", 1, states.SUCCESS, request=member)

    assert 59 <= ttl(unit_server, "ok") <= 60
    assert 9 <= ttl(unit_server, "no") <= 10
    assert 599 <= ttl(unit_server, "m") <= 600


def test_url_goes_over_settings(unit_server, backend_of):
    """What the URL says counts."""
    backend = backend_of(f"coatcheck+{unit_server.url}?expires=30", result_expires=60)
    backend.store_result("t", 1, states.SUCCESS)

    assert 29 <= ttl(unit_server, "t") <= 30


def test_key_prefix(unit_server, backend_of):
    """`global_keyprefix` is put in front, as Celery does it."""
    options = {"global_keyprefix": "shop"}
    backend_of(result_backend_transport_options=options).store_result("t", 1, states.SUCCESS)
    theirs = backend_of("redis", result_backend_transport_options=options)

    assert ttl(unit_server, "t", "shop_") > 0
    assert 1 == theirs.get_result("t")


def test_cleanup(tmp_path):
    """Where the store does not forget by itself, Celery's cleanup deletes what is expired."""
    url = f"coatcheck+file://{tmp_path}"
    backend = application("memory://", url, result_expires=0.05).backend
    backend.store_result("t", 1, states.SUCCESS)
    time.sleep(0.1)
    assert [*tmp_path.iterdir()]
    backend.cleanup()

    assert not backend.supports_autoexpire
    assert [] == [*tmp_path.iterdir()]
    backend.results.close()


def test_store_that_forgets(backend_of):
    """Redis forgets by itself, so beat sends no cleanup."""
    assert backend_of().supports_autoexpire


# -- values and failures ------------------------------------------------------------------------


class Point:
    """A type that the application registers with kombu."""

    def __init__(self, x):
        self.x = x


def test_registered_types(backend_of):
    """Types that were registered with kombu are written and read."""
    register_type(Point, "point", lambda point: point.x, Point)
    backend = backend_of()
    backend.store_result("t", {"at": [Point(3)]}, states.SUCCESS)

    assert 3 == backend.get_result("t")["at"][0].x


def test_unknown_types(backend_of, unit_server):
    """A tag that nobody knows is a dict; what coatcheck tags is read."""
    value = '{"a": {"__type__": "nosuch", "__value__": 1}, "b": {"__type__": "set", '
    value += '"__value__": [1], "__coatcheck__": 1}}'
    with unit_server.client as client:
        client.set("celery-task-meta-t", f'{{"status": "SUCCESS", "result": {value}}}')
    found = backend_of().get_result("t")

    assert {"a": {"__type__": "nosuch", "__value__": 1}, "b": {1}} == found


@pytest.mark.parametrize("serializer", ["json", "pickle", "msgpack", "headed"])
def test_serializers(backend_of, serializer):
    """Every serializer of kombu's, also one that coatcheck does not know, keeps values, failures and states."""
    backend = backend_of(result_serializer=serializer, accept_content=[serializer])
    backend.store_result("t", {"a": [1, "ä", None]}, states.SUCCESS)
    backend.store_result("f", Refused("no", 3), states.FAILURE, traceback="there")
    backend.store_result("t", 2, states.SUCCESS)
    error = backend.get_result("f")

    assert {"a": [1, "ä", None]} == backend.wait_for("t", timeout=5)["result"]
    assert (Refused, ("no", 3)) == (type(error), error.args)
    assert "there" == backend.get_traceback("f")


def test_pickled_failures_are_whole(backend_of):
    """Pickle keeps the exception itself."""
    backend = backend_of(result_serializer="pickle", accept_content=["pickle"])
    error = Refused("no")
    error.code = 7
    backend.store_result("f", error, states.FAILURE)

    assert 7 == backend.get_result("f").code


def test_pickle_needs_to_be_accepted(backend_of):
    """Pickle is refused by a reader that does not accept it, while the state is read by coatcheck."""
    backend_of(result_serializer="pickle", accept_content=["pickle"]).store_result(
        "t", 1, states.SUCCESS
    )
    reader = backend_of()
    with pytest.raises(kombu.exceptions.ContentDisallowed, match="pickle"):
        reader.get_result("t")
    with pytest.raises(kombu.exceptions.ContentDisallowed):
        reader.app.AsyncResult("t").get(timeout=5)

    assert states.SUCCESS == reader.results.get_state("t")


def test_damaged_record(backend_of, unit_server):
    """A damaged record raises where it is read, and not where others are."""
    backend = backend_of()
    with unit_server.client as client:
        client.set("celery-task-meta-bad", '{"status": "SUCCESS", "result": ')
    backend.store_result("ok", 1, states.SUCCESS)
    with pytest.raises(kombu.exceptions.DecodeError, match="damaged"):
        backend.app.AsyncResult("bad").get(timeout=5)

    assert 1 == backend.app.AsyncResult("ok").get(timeout=5)


def test_record_without_a_readable_state(backend_of, unit_server):
    """What is no record of this application's is waited over, and the timeout says so."""
    backend = backend_of()
    with unit_server.client as client:
        client.set("celery-task-meta-foreign", "SUCCESS, in a way")
    with pytest.raises(
        celery.exceptions.TimeoutError, match=r"timed out\. .*'foreign' cannot be read"
    ):
        backend.app.AsyncResult("foreign").get(timeout=0.2)


def test_value_that_cannot_be_stored(backend_of):
    """What makes a worker store a failure instead is raised; an older record stays."""
    backend = backend_of()
    backend.results.backend.backend.max_value_bytes = 2000
    backend.store_result("t", 1, states.STARTED)
    with pytest.raises(kombu.exceptions.EncodeError, match="2000"):
        backend.store_result("t", "x" * 2000, states.SUCCESS)
    with pytest.raises(kombu.exceptions.EncodeError, match=r"result.*set"):
        backend.store_result("t", [{1}], states.SUCCESS)

    assert states.STARTED == backend.get_state("t")


def test_failure_for_readers_of_coatcheck(backend_of, unit_server):
    """Who reads with coatcheck gets causes and notes, and the nearest builtin type."""
    backend = backend_of()
    try:
        raise Refused("no") from KeyError("why")
    except Refused as error:
        error.add_note("noted")
        backend.mark_as_failure("t", error, traceback="there")
    with coatcheck.by_url(f"redis://127.0.0.1:{unit_server.port}/0") as results:
        failure = results.get_task_meta("t").failure
        with pytest.raises(ValueError, match="no"):
            results.AsyncResult("t").get(timeout=5)

    assert "KeyError" == failure.cause.qualname
    assert ("noted",) == failure.notes


@pytest.mark.parametrize("task_id", ["with space", "ä/🎉", b"bytes"])
def test_ids(backend_of, task_id):
    """Any text is an id, and bytes are text."""
    backend = backend_of()
    backend.store_result(task_id, 1, states.SUCCESS)

    assert 1 == backend.get_result(task_id)
    assert backend.task_result_exists(task_id)


@pytest.mark.parametrize("task_id", ["", None])
def test_no_id(backend_of, task_id):
    """Nothing is an id, as little as in Celery."""
    with pytest.raises(ValueError, match="task id"):
        backend_of().get_state(task_id)


# -- waiting ------------------------------------------------------------------------------------


def test_many_threads_wait(backend_of, unit_server):
    """Many waiting threads share two connections, and all are woken."""
    before = unit_server.ask("CLIENT", "LIST").count(b" laddr=127")
    backend = backend_of()
    app = backend.app
    got = []
    threads = [
        threading.Thread(target=lambda n=n: got.append(app.AsyncResult(f"t{n}").get(timeout=20)))
        for n in range(50)
    ]
    for thread in threads:
        thread.start()
    while len(unit_server.ask("PUBSUB", "CHANNELS")) < 50:
        time.sleep(0.01)
    after = unit_server.ask("CLIENT", "LIST").count(b" laddr=127")
    for n in range(50):
        backend.store_result(f"t{n}", n, states.SUCCESS)
    for thread in threads:
        thread.join(20)

    assert list(range(50)) == sorted(got)
    assert after - before <= 2


def test_nothing_is_left(backend_of, unit_server):
    """Nobody waits, so there is no subscription; results are collected without a word."""
    backend = backend_of()
    handles = [backend.app.AsyncResult(f"t{n}") for n in range(10)]
    for handle in handles:
        handle.then(print)
    with pytest.raises(celery.exceptions.TimeoutError):
        handles[0].get(timeout=0.05)
    deadline = time.monotonic() + 10
    while unit_server.ask("PUBSUB", "CHANNELS") and time.monotonic() < deadline:
        time.sleep(0.05)
    before = calls(unit_server)
    del handles, handle
    gc.collect()

    assert [] == unit_server.ask("PUBSUB", "CHANNELS")
    assert before == calls(unit_server)


def test_read_some(backend_of):
    """`get_many` with one iteration is one look, and says of unready tasks nothing."""
    backend = backend_of()
    backend.store_result("a", 1, states.SUCCESS)
    backend.store_result("b", 1, states.STARTED)

    assert ["a"] == [task_id for task_id, _ in backend.get_many({"a", "b", "c"}, max_iterations=1)]
    with pytest.raises(celery.exceptions.TimeoutError):
        list(backend.get_many(["a", "b"], timeout=0.05))


def test_join_that_does_not_wait(backend_of):
    """With a timeout of 0 a join is one look, whatever the interval is."""
    backend = backend_of()
    app = backend.app
    backend.store_result("a", 1, states.SUCCESS)
    ready, both = (ResultSet([app.AsyncResult(i) for i in ids], app=app) for ids in ("aa", "ab"))
    start = time.monotonic()
    with pytest.raises(celery.exceptions.TimeoutError):
        both.join_native(timeout=0, interval=30)

    assert [1] == ready.join_native(timeout=0, interval=30)[-1:]
    assert time.monotonic() - start < 20


def test_client_cache(backend_of):
    """With `result_cache_max` what was had is not read again."""
    backend = backend_of(result_cache_max=10)
    backend.store_result("t", 1, states.SUCCESS)
    assert 1 == backend.wait_for("t", timeout=5)["result"]
    backend.results.forget("t")

    assert 1 == backend.get_result("t")
    backend.forget("t")
    assert states.PENDING == backend.get_state("t")


def test_fork(backend_of):
    """A forked child uses the backend that its parent made and uses."""
    backend = backend_of()
    backend.store_result("parent", 1, states.SUCCESS)
    assert 1 == backend.wait_for("parent", timeout=5)["result"]
    # The hub of that wait ends first: CPython warns of threads at a fork.
    until(lambda: not [t for t in threading.enumerate() if t.name == "coatcheck-hub"])
    pid = os.fork()
    if pid == 0:
        try:
            backend.store_result("child", 2, states.SUCCESS)
            ok = backend.app.AsyncResult("parent").get(timeout=5) == 1
            os._exit(0 if ok else 1)
        except BaseException:
            os._exit(2)
    _, status = os.waitpid(pid, 0)

    assert 0 == os.waitstatus_to_exitcode(status)
    assert 2 == backend.wait_for("child", timeout=5)["result"]


# -- a store that is away -----------------------------------------------------------------------


def test_store_comes_back(tmp_path):
    """A store is repeated while the server is away, for as long as the policy says."""
    server = RedisServer(tmp_path)
    url = f"coatcheck+redis://127.0.0.1:{server.port}/0?operation_timeout=0.3"
    backend = application("memory://", url).backend
    thread = threading.Thread(target=backend.store_result, args=("t", 1, states.SUCCESS))
    thread.start()
    time.sleep(1)
    with server:
        thread.join(20)

        assert 1 == backend.get_result("t")
    backend.results.close()


def test_patience():
    """The policy is Celery's: how often, and how long between; without a limit it is for ever."""
    policy = {"interval_start": 0, "interval_step": 0.5, "interval_max": 1}

    assert 0 + 0.5 + 1 + 1 == patience_of({**policy, "max_retries": 4})
    assert patience_of({**policy, "max_retries": None}) is None


@pytest.mark.parametrize("always_retry", [False, True])
def test_store_that_stays_away(tmp_path, always_retry):
    """Celery's own errors say so in the end, also where Celery itself repeats."""
    server = RedisServer(tmp_path)
    url = f"coatcheck+redis://127.0.0.1:{server.port}/0?operation_timeout=0.1"
    backend = application(
        "memory://",
        url,
        result_backend_transport_options={"retry_policy": {"max_retries": 0}},
        result_backend_always_retry=always_retry,
        result_backend_max_retries=1,
    ).backend
    with pytest.raises(celery.exceptions.BackendStoreError) as caught:
        backend.store_result("t", 1, states.SUCCESS)
    assert ("t", states.SUCCESS) == (caught.value.task_id, caught.value.state)
    with pytest.raises(celery.exceptions.BackendGetMetaError) as caught:
        backend.get_state("t")
    assert "t" == caught.value.task_id
    with pytest.raises(celery.exceptions.TimeoutError) as caught:
        backend.app.AsyncResult("t").get(timeout=0.3)

    assert caught.value.__cause__.last_error is not None
    backend.results.close()
