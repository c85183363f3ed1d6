"""
`from_celery_config`: what Celery's settings mean here, whatever they stand in.
"""

import subprocess
import sys
import types
from datetime import timedelta

import pytest

import coatcheck
import coatcheck.aio
from coatcheck._embedded.memory import MemoryBackend
from coatcheck._settings import celeryconfig

BOTH = pytest.mark.parametrize("door", [coatcheck, coatcheck.aio], ids=["sync", "aio"])


def made(settings, **options):
    """Return results by *settings*, in memory unless they say otherwise."""
    return coatcheck.from_celery_config({"result_backend": "memory://", **settings}, **options)


class Application:
    """What an application of Celery looks like from outside."""

    def __init__(self, conf):
        self.conf = conf


class Project:
    """Settings as attributes, as Django has them."""

    DEBUG = True
    CELERY_RESULT_BACKEND = "memory://"
    CELERY_RESULT_EXPIRES = timedelta(minutes=5)
    TASKS_RESULT_BACKEND = "memory://"
    TASKS_RESULT_EXPIRES = 60


def module(name, **settings):
    """Return a module that can be imported."""
    found = types.ModuleType(name)
    vars(found).update(settings)
    return found


NEW = {"result_backend": "memory://", "result_expires": 300}
OLD = {"CELERY_RESULT_BACKEND": "memory://", "CELERY_TASK_RESULT_EXPIRES": 300}


@BOTH
@pytest.mark.parametrize(
    "config",
    [
        NEW, OLD, Application(NEW), Application(OLD), Project, Project(),
        module("settings", **NEW), module("settings", **OLD), {**NEW, 5: "not a setting"},
        {**OLD, "result_expires": 300, "CELERY_TASK_RESULT_EXPIRES": 7},
        {**OLD, "result_expires": None},
    ],
)  # fmt: skip
async def test_where_settings_stand(door, config):
    """
    A mapping, a module, an object or an application; new names and old ones, of which the new one
    counts, unless it says nothing.
    """
    assert 300 == door.from_celery_config(config).expires


class Guarded(Project):
    """Settings of which one raises."""

    @property
    def SECRET_KEY(self):  # noqa: N802 - as Django has it
        raise RuntimeError("SECRET_KEY must not be empty")


class Conf(dict):
    """What an application makes of its settings: the backend may be said by the environment."""

    result_backend = "memory://"


@BOTH
@pytest.mark.parametrize(
    "config", [Guarded(), Conf(result_backend=None, result_expires=300, _of="the module")]
)
async def test_only_settings_are_looked_at(door, config):
    """What else a project keeps there is left alone; an application knows its backend best."""
    results = door.from_celery_config(config)
    assert 300 == results.expires
    assert "memory" in repr(results)


@pytest.mark.parametrize("path", ["shop", "shop:app", "shop:holder.app"])
def test_an_import_path(monkeypatch, path):
    """A configuration can be named: a module, or something in one."""
    holder = types.SimpleNamespace(app=Application(NEW))
    monkeypatch.setitem(sys.modules, "shop", module("shop", **NEW, app=holder.app, holder=holder))

    assert 300 == coatcheck.from_celery_config(path).expires


@pytest.mark.parametrize("name", ["app", "celery"])
def test_an_application_in_a_module(monkeypatch, name):
    """A module without settings may hold an application, as `celery -A` takes it."""
    shop = module("shop", os=sys, **{name: Application(NEW)})
    monkeypatch.setitem(sys.modules, "shop", shop)

    assert 300 == coatcheck.from_celery_config("shop").expires
    assert 300 == coatcheck.from_celery_config(shop).expires


@pytest.mark.parametrize("config", [None, 5, True, b"shop"])
def test_what_is_no_configuration(config):
    """What cannot hold settings is refused, instead of meaning that there are no results."""
    with pytest.raises(coatcheck.ConfigurationError, match="is no configuration"):
        coatcheck.from_celery_config(config)


@pytest.mark.parametrize("path", ["no_such_shop", "sys:no_such", "", "..up"])
def test_an_import_path_that_leads_nowhere(path):
    """What cannot be imported is named, with what to write."""
    with pytest.raises(coatcheck.ConfigurationError, match=r"write package\.module"):
        coatcheck.from_celery_config(path)


def test_a_namespace():
    """Names in upper case start with what the project chose."""
    assert 60 == coatcheck.from_celery_config(Project, namespace="TASKS").expires


@BOTH
async def test_without_a_backend(door):
    """Where Celery keeps no results, neither does this: what is read says why."""
    for config in ({}, {"result_backend": None}, {"result_backend": "disabled"}):
        assert "disabled" in repr(door.from_celery_config(config))


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("memory", "memory"),
        ("celery.backends.filesystem.FilesystemBackend", "file"),
        ("celery.backends.base:DisabledBackend", "disabled"),
        ("celery.backends.rpc.RPCBackend", "rpc"),
    ],
)
def test_names_in_place_of_urls(name, scheme):
    """A bare name, or one of Celery's classes, means the scheme."""
    assert scheme == celeryconfig.url_of({"result_backend": name}).scheme


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(timedelta(hours=1), 3600), (90, 90), (90.9, 90.9), (0, None), (None, None)],
)
def test_lifetimes(value, seconds):
    """A number or a timedelta; nothing, and 0, keep the records."""
    assert seconds == made({"result_expires": value}).expires


def test_the_default_lifetime():
    """Celery's default and ours are the same."""
    assert 86_400 == made({}).expires


@pytest.mark.parametrize("value", ["90", True, -1, float("nan"), float("inf"), [5]])
@pytest.mark.parametrize("name", ["result_expires", "result_failure_expires"])
def test_lifetimes_that_cannot_be(name, value):
    """What is no lifetime is refused, and the setting is named."""
    with pytest.raises(coatcheck.ConfigurationError, match=f"{name}: use seconds"):
        made({name: value})


@pytest.mark.parametrize(
    ("settings", "accept"),
    [
        ({}, ("json", "msgpack")),
        ({"accept_content": ["json"]}, ("json",)),
        ({"accept_content": {"application/json", "no/such"}}, ("json",)),
        ({"accept_content": ["json"], "result_accept_content": ["msgpack"]}, ("msgpack",)),
        ({"accept_content": ["pickle", "yaml", "auth"]}, ("pickle",)),
        ({"result_accept_content": "application/x-python-serialize"}, ("pickle",)),
        ({"result_accept_content": ["application/x-msgpack"]}, ("msgpack",)),
    ],
)
def test_what_is_accepted(settings, accept):
    """What Celery accepts, by name or by content type, as far as it can be read here."""
    assert accept == made(settings)._codec.accept


@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_serializers(name):
    """What Celery writes is written here."""
    assert name == made({"result_serializer": name})._codec.serializer.name


@pytest.mark.parametrize("name", ["yaml", "bson", "no_such", 5])
def test_serializers_that_are_not_here(name, monkeypatch):
    """One that cannot be written is refused; where nothing is written, its values raise, and are not guessed."""
    monkeypatch.delitem(sys.modules, "kombu.serialization", raising=False)
    settings = {"result_serializer": name, "accept_content": ["json", name]}

    with pytest.raises(coatcheck.ConfigurationError, match="result_serializer: unknown serializer"):
        made(settings)
    record = made(settings, read_only=True)._codec.decode("t", b'{"status": "SUCCESS", "x": 1}')
    assert "SUCCESS" == record.status
    if name != "yaml":  # which shows that it is none
        with pytest.raises(coatcheck.DecodeError, match=f"no serializer '{name}' is registered"):
            _ = record.result


def test_pickle_has_to_be_said_twice():
    """To write pickle takes the option that says it is unsafe, as everywhere."""
    settings = {"result_serializer": "pickle", "accept_content": ["pickle"]}

    with pytest.raises(coatcheck.ConfigurationError, match="unsafe_pickle=True"):
        made(settings)
    assert "pickle" == made(settings, unsafe_pickle=True)._codec.serializer.name
    reading = made(settings, read_only=True)._codec
    assert ("pickle", ("pickle",)) == (reading.serializer.name, reading.accept)


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        ("myapp", "myapp_celery-task-meta-"),
        ("myapp:", "myapp:celery-task-meta-"),
        ("myapp_", "myapp_celery-task-meta-"),
        ("myapp-", "myapp-celery-task-meta-"),
        ("myapp.", "myapp.celery-task-meta-"),
        ("", "celery-task-meta-"),
        (None, "celery-task-meta-"),
    ],
)
def test_key_prefixes(given, keys):
    """Celery's prefix, joined as Celery joins it, goes before its own."""
    options = {"result_backend_transport_options": {"global_keyprefix": given}}

    assert keys == made(options)._key_prefix


def test_a_lifetime_for_failures():
    """Failures live as long as other records here, so another time for them is refused."""
    with pytest.raises(coatcheck.ConfigurationError, match="result_failure_expires: all records"):
        made({"result_failure_expires": 60})
    assert 60 == made({"result_expires": 60, "result_failure_expires": 60}).expires
    assert 86_400 == made({"result_failure_expires": 60}, read_only=True).expires


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"result_backend": 5}, "result_backend has to be a URL"),
        ({"result_backend": "nosuch://"}, "no backend for the scheme"),
        ({"result_backend_transport_options": "x"}, "result_backend_transport_options has to be"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    """A setting of the wrong kind is named."""
    with pytest.raises(coatcheck.ConfigurationError, match=message):
        made(settings)


def test_what_does_not_matter():
    """Settings of Celery's workers, brokers and chords, and those that nobody knows, are ignored."""
    settings = {
        "broker_url": "amqp://", "task_ignore_result": True, "result_extended": True,
        "result_compression": "gzip", "result_chord_retry_interval": 1.0, "result_cache_max": -1,
        "result_backend_always_retry": True, "result_persistent": None, "result_no_such": 1,
        "result_backend_transport_options": {"retry_policy": {"timeout": 5.0}},
    }  # fmt: skip

    assert 86_400 == made(settings).expires


def test_options_go_over_settings():
    """What is said by name goes over the configuration."""
    results = made({"result_expires": 60, "accept_content": ["pickle"]}, expires=5, accept="json")

    assert 5 == results.expires
    assert ("json",) == results._codec.accept


def test_a_backend_reads_its_own_settings():
    """A backend's class turns settings into a URL and options; both sides ask the sync one."""

    class Own(MemoryBackend):
        PROTOCOL_VERSION = 1

        @classmethod
        def celery_options(cls, url, settings):
            return f"{url.raw}//{settings['own_host']}?expires=7", {"safety_look": 2.0}

        @classmethod
        def from_url(cls, url, *, operation_timeout=5.0, options=None):
            assert "h" == url.rest
            return cls()

    config = {"result_backend": "own:", "own_host": "h"}
    with coatcheck.registered("own", Own):
        for door in (coatcheck, coatcheck.aio):
            results = door.from_celery_config(config)
            assert (7, 2.0) == (results.expires, results._safety_look)


@BOTH
async def test_an_application_that_has_coatcheck_for_a_backend(door, tmp_path, monkeypatch):
    """The backend behind `coatcheck+` is the one to read; coatcheck's options stand beside Celery's."""
    options = {"safety_look": 2.0, "global_keyprefix": "p", "retry_policy": {}}
    config = {"result_backend_transport_options": options}
    results = door.from_celery_config({**config, "result_backend": "coatcheck+memory://"})
    (tmp_path / "coatcheck.toml").write_text('[backends.shop]\nurl = "memory://"\nexpires = 7\n')
    monkeypatch.chdir(tmp_path)
    named = door.from_celery_config({**config, "result_backend": "coatcheck://shop"})

    assert (2.0, "p_celery-task-meta-") == (results._safety_look, results._key_prefix)
    assert (2.0, 7) == (named._safety_look, named.expires)
    with pytest.raises(coatcheck.ConfigurationError, match="safety_lok"):
        wrong = {"result_backend_transport_options": {"safety_lok": 2}}
        door.from_celery_config({**wrong, "result_backend": "coatcheck+memory://"})


def test_celery_is_not_imported():
    """The configuration is read without Celery."""
    code = (
        "import sys, coatcheck; coatcheck.from_celery_config({'result_backend': 'memory://'}); "
        "print([name for name in sys.modules if name.partition('.')[0] in ('celery', 'kombu')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]" == done.stdout.strip()
