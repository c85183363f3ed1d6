"""
The resolver: from a URL to a backend, or an error that says which way it is missing.
"""

import subprocess
import sys

import pytest

import coatcheck
import coatcheck.aio
from coatcheck import by_url, register, registered, unregister
from coatcheck._embedded.disabled import DisabledBackend
from coatcheck._embedded.memory import MemoryBackend
from coatcheck._embedded.sqlite import SQLiteBackend
from coatcheck._finding import registry as registries
from coatcheck._finding import resolver
from coatcheck._finding.hints import KNOWN_GROUP
from coatcheck._finding.registry import AIO, SYNC
from coatcheck._runtime import entrypoints
from coatcheck.errors import (
    ConfigurationError,
    PluginError,
    SchemeConflictError,
    UnknownSchemeError,
)

pytestmark = pytest.mark.usefixtures("_fresh_scan")
GROUP = SYNC.group
BACKEND = """
from coatcheck._embedded.memory import MemoryBackend
class {}(MemoryBackend):
    PROTOCOL_VERSION = 1
"""
AIO_BACKEND = """
from coatcheck.aio import KeyValueBackend
class Tank(KeyValueBackend):
    PROTOCOL_VERSION = 1
    @classmethod
    def from_url(cls, url, *, operation_timeout=5.0, options=None):
        return cls()
    put = get_many = delete_many = None
"""


def backend_class(scheme):
    """
    Return the class for synchronous code.
    """
    return resolver.backend_class(scheme, SYNC)


def source(name, extra=""):
    """
    Return the source of a module with a backend called *name*.
    """
    return BACKEND.format(name) + extra


@pytest.mark.parametrize(
    ("scheme", "cls"),
    [("memory", MemoryBackend), ("sqlite", SQLiteBackend), ("disabled", DisabledBackend)],
)
def test_built_in_schemes_need_no_scan(scheme, cls, monkeypatch):
    """
    An embedded scheme is found without a look at what is installed.
    """
    monkeypatch.setattr(entrypoints, "_scan", None)

    assert cls is backend_class(scheme)


def test_built_in_schemes_need_no_scan_for_asyncio(monkeypatch):
    """
    An embedded scheme is found for asyncio without a look at what is installed.
    """
    monkeypatch.setattr(entrypoints, "_scan", None)

    assert MemoryBackend is resolver.backend_class("memory", AIO, SYNC)


def test_built_in_schemes_import_no_metadata():
    """
    A process that uses an embedded backend never imports the scanner.
    """
    code = (
        "import sys, coatcheck\n"
        "coatcheck.by_url('memory://').store_result('t', 1)\n"
        "print(any(name in sys.modules for name in ('importlib.metadata', 'importlib_metadata')))"
    )

    done = subprocess.run(
        [sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True
    )

    assert "False\n" == done.stdout


def test_a_plugin_is_found_by_its_entry_point(distribution):
    """
    A scheme that a distribution offers is loaded, once.
    """
    distribution("coat-tank", GROUP, tank="coat_tank:Tank", coat_tank=source("Tank"))

    cls = backend_class("tank")

    assert "Tank" == cls.__name__
    assert cls is backend_class("tank")
    assert {"tank", "memory", "sqlite", "disabled"} <= SYNC.schemes()


def test_the_whole_scheme_comes_before_its_first_part(distribution):
    """
    `a+b` is looked for whole, and then as `a`.
    """
    distribution(
        "coat-tank",
        GROUP,
        **{"tank": "coat_tank:Tank", "tank+tls": "coat_tank:Secure"},
        coat_tank=source("Tank", BACKEND.format("Secure")),
    )

    assert "Secure" == backend_class("tank+tls").__name__
    assert "Tank" == backend_class("tank+udp").__name__
    assert "Tank" == backend_class("tank").__name__


def test_a_built_in_is_not_replaced_by_a_distribution(distribution):
    """
    A distribution that claims an embedded scheme is not asked.
    """
    distribution("coat-bad", GROUP, memory="coat_bad:Bad")

    assert MemoryBackend is backend_class("memory")


def test_by_url_passes_the_options_on(distribution):
    """
    The backend gets its own options and the timeout, and the results get theirs.
    """
    own = """
    def __init__(self, *seen):
        super().__init__()
        self.seen = seen
    @classmethod
    def from_url(cls, url, *, operation_timeout=5.0, options=None):
        return cls(url.rest, url.query, operation_timeout, options)
"""
    distribution(
        "coat-tank",
        GROUP,
        tank="coat_tank:Tank",
        coat_tank=source("Tank", own),
    )

    results = by_url("tank://u:secret@h/1?a=b&expires=9&operation_timeout=2", pool=3)

    assert ("u:secret@h/1", {"a": "b"}, 2.0, {"pool": 3}) == results.backend.backend.seen
    assert 9.0 == results.expires
    masked = "tank://***@h/1?a=***&expires=***&operation_timeout=***"
    assert f"<Results {masked}>" == repr(results)


def test_the_environment_names_the_default(monkeypatch):
    """
    Without a URL the one in COATCHECK_URL is used.
    """
    monkeypatch.setenv("COATCHECK_URL", "memory://from-environment")

    assert "<Results memory://from-environment>" == repr(coatcheck.by_url())


@pytest.mark.parametrize("url", ["memory://x?expires=5&expirs=6", "sqlite:///x.db?expirs=hunter2"])
def test_unknown_options_name_the_scheme(url):
    """
    An option that nobody has is an error that names the scheme and not the value.
    """
    with pytest.raises(
        ConfigurationError, match=r"^(memory|sqlite):// has no option 'expirs'"
    ) as e:
        by_url(url)

    assert "hunter2" not in str(e.value)


def test_unknown_options_name_the_nearest_of_all():
    """
    An option that nobody has is an error with the nearest name, the results' own included.
    """
    with pytest.raises(ConfigurationError, match="did you mean 'expires'"):
        by_url("memory://x?expirs=6")


# -- the kinds of missing -------------------------------------------------------------------


def test_an_unknown_scheme_says_what_is_installed():
    """
    Where nothing is near, the error lists what is installed.
    """
    with pytest.raises(
        UnknownSchemeError, match=r"\(installed: .*disabled, .*memory, .*sqlite"
    ) as e:
        by_url("zzzzzz://u:secret@h")

    assert "zzzzzz" == e.value.scheme
    assert "secret" not in str(e.value)
    assert "did you mean" not in str(e.value)
    assert "pip install" not in str(e.value)


def test_a_near_scheme_is_named():
    """
    A misspelt scheme is answered with the one that was meant.
    """
    with pytest.raises(UnknownSchemeError, match=r"did you mean 'memory'\?") as info:
        backend_class("memroy")

    assert "pip install" not in str(info.value)


def test_what_could_be_installed_is_named(distribution):
    """
    A scheme that a known package would bring is answered with what to install.
    """
    distribution("coat-known", KNOWN_GROUP, tank="coat_tank [tank]")

    for scheme in ("tank", "tank+tls"):
        with pytest.raises(UnknownSchemeError, match=r"pip install 'coatcheck\[tank\]' \(") as info:
            backend_class(scheme)
        assert "did you mean" not in str(info.value)


def test_what_could_be_installed_is_named_for_a_misspelling(distribution):
    """
    A misspelt scheme that a known package would bring is answered with both.
    """
    distribution("coat-known", KNOWN_GROUP, tankard="coat_tank [tank]")

    with pytest.raises(UnknownSchemeError, match=r"did you mean 'tankard'\?.*coatcheck\[tank\]"):
        backend_class("tankrad")


@pytest.mark.parametrize("value", ["coat_tank", "not an entry point", ""])
def test_a_broken_list_of_packages_breaks_nothing(distribution, value):
    """
    A known package that does not say which extra brings it is not a hint.
    """
    distribution("coat-known", KNOWN_GROUP, tank=value)

    with pytest.raises(UnknownSchemeError) as info:
        backend_class("tank")

    assert "pip install" not in str(info.value)


def test_two_claims_to_a_scheme_are_an_error(distribution):
    """
    A scheme of two distributions is refused, naming both with versions and the way out.
    """
    distribution("coat-tank", GROUP, version="1.5", tank="coat_tank:Tank")
    distribution(
        "other-tank", GROUP, version="2.0", tank="other_tank:Tank", other_tank=source("Tank")
    )

    with pytest.raises(
        SchemeConflictError,
        match=r"claimed by coat-tank 1\.5 and by other-tank 2\.0: uninstall all but one, or choose "
        r"with coatcheck\.register\('tank', 'module:Class', replace=True\)",
    ):
        backend_class("tank")
    register("tank", "other_tank:Tank", replace=True)
    assert "other_tank" == backend_class("tank").__module__


def test_a_missing_driver_is_named(distribution):
    """
    A plugin without its driver says what to install, and not that the scheme is unknown.
    """
    distribution("coat-tank", GROUP, tank="coat_tank:Tank", coat_tank="\nimport no_driver\n")

    with pytest.raises(PluginError, match="the package 'no_driver' that it needs is missing"):
        by_url("tank://")


def test_a_failing_import_is_named(distribution):
    """
    A plugin that fails while it is imported says how, and breaks no other.
    """
    distribution("coat-tank", GROUP, tank="coat_tank:Tank", coat_tank="\n1 / 0\n")

    with pytest.raises(PluginError, match="failed while it was imported: ZeroDivisionError"):
        by_url("tank://")
    assert isinstance(by_url("memory://x").backend.backend, MemoryBackend)


def test_a_version_that_is_not_stated(distribution):
    """
    A plugin that leaves the version of the protocol to the core that is installed is refused.
    """
    inherits = source("Tank").replace("PROTOCOL_VERSION = 1", "pass")
    base = source("Base") + "\nclass Tank(Base):\n    pass\n"
    foreign = "\nfrom coat_base import Base\nclass Tank(Base):\n    pass\n"
    distribution("coat-tank", GROUP, tank="coat_tank:Tank", coat_tank=inherits)
    distribution("coat-base", GROUP, base="coat_base:Tank", coat_base=base)
    distribution("coat-other", GROUP, other="coat_other:Tank", coat_other=foreign)

    assert "Tank" == backend_class("base").__name__
    for scheme, owner in (("tank", "coat-tank"), ("other", "coat-other")):
        with pytest.raises(
            PluginError, match=rf"{owner} 1\.0 does not say .* state PROTOCOL_VERSION = 1 in"
        ):
            by_url(f"{scheme}://")


def test_a_newer_core_refuses_what_is_installed(monkeypatch):
    """
    No class that an entry point of ours names, nor a built-in one, takes its version from the core.
    """
    monkeypatch.setattr(registries, "PROTOCOL_VERSION", 2)
    for registry in (SYNC, AIO):
        for scheme in registry.schemes():
            with pytest.raises(PluginError, match="is made for version 1 of the backend protocol"):
                registries.Registry(registry.group, registry._builtin).find(scheme)


@pytest.mark.parametrize("version", ["0", "2"])
def test_another_protocol_version_is_named(distribution, version):
    """
    A plugin made for another version of the protocol says both versions.
    """
    changed = source("Tank", f"    PROTOCOL_VERSION = {version}\n")
    distribution("coat-tank", GROUP, tank="coat_tank:Tank", coat_tank=changed)

    with pytest.raises(
        PluginError,
        match=rf"coat-tank 1\.0 is made for version {version} of the backend protocol, this "
        "coatcheck has version 1: upgrade the older",
    ):
        by_url("tank://")


def test_the_four_messages_differ(distribution):
    """
    Not installed, driver missing, import failed and other version are four messages.
    """
    for name, text in {
        "a": "\nimport no_driver\n",
        "b": "\n1 / 0\n",
        "c": source("Tank", "    PROTOCOL_VERSION = 9\n"),
    }.items():
        distribution(
            f"coat-{name}", GROUP, **{f"tank-{name}": f"tank_{name}:Tank", f"tank_{name}": text}
        )
    messages = set()
    for scheme in ("tank-a", "tank-b", "tank-c", "nosuch"):
        with pytest.raises(ConfigurationError) as info:
            backend_class(scheme)
        messages.add(str(info.value).replace(f"coat-{scheme[-1]}", "").partition(",")[0])

    assert 4 == len(messages)


# -- register -------------------------------------------------------------------------------


class Own(MemoryBackend):
    PROTOCOL_VERSION = 1


class Other(MemoryBackend):
    PROTOCOL_VERSION = 1


def test_a_class_can_be_registered():
    """
    A registered class is the backend for its scheme until it is taken back.
    """
    register("own", Own)
    assert Own is backend_class("own")
    assert "own" in SYNC.schemes()
    unregister("own")
    with pytest.raises(UnknownSchemeError):
        backend_class("own")
    unregister("own")


def test_a_name_can_be_registered(distribution):
    """
    A registered name is imported when the scheme is first used.
    """
    distribution("coat-tank", "nothing", coat_tank=source("Tank"))
    register("own", "coat_tank:Tank")
    assert "coat_tank" not in sys.modules

    assert "Tank" == backend_class("own").__name__


@pytest.mark.parametrize(
    "target", ["no_such_module:X", "coatcheck:NoSuch", "coatcheck", "", ":", "coat_bad:X"]
)
def test_registered_names_that_cannot_be_imported(target, distribution):
    """
    A registered name that leads nowhere is a PluginError that repeats it.
    """
    distribution("coat-bad", "nothing", coat_bad="\n1 / 0\n")
    register("own", target or "x:")

    with pytest.raises(PluginError, match=r"the registered backend '.*' cannot be imported"):
        backend_class("own")


def test_registered_backends_of_another_version():
    """
    A registered backend of another protocol version says so, by name or by class.
    """

    class Old:
        PROTOCOL_VERSION = 0

    register("own", Old)
    register("text", "builtins:object")

    with pytest.raises(PluginError, match="Old is made for version 0"):
        backend_class("own")
    with pytest.raises(
        PluginError, match="plugin builtins:object names the class object, which is no"
    ):
        backend_class("text")


@pytest.mark.parametrize("scheme", ["own", "memory"])
def test_what_is_taken_is_not_replaced_silently(scheme):
    """
    A scheme that is built in or registered is replaced on purpose only.
    """
    if scheme == "own":
        register("own", Other)
        register("own", Other)

    with pytest.raises(SchemeConflictError, match="is claimed by"):
        register(scheme, Own)
    register(scheme, Own, replace=True)
    assert Own is backend_class(scheme)


def test_an_empty_scheme_is_refused():
    """
    A scheme has a name.
    """
    with pytest.raises(ConfigurationError, match="must not be empty"):
        register("", Own)


def test_registering_for_a_block():
    """
    Within the block the scheme is the block's, and what it replaced comes back.
    """
    register("own", Other)

    with registered("own", Own), registered("memory", Own), registered("new", Own):
        assert [Own] * 3 == [backend_class(scheme) for scheme in ("own", "memory", "new")]

    assert Other is backend_class("own")
    assert MemoryBackend is backend_class("memory")
    with pytest.raises(UnknownSchemeError):
        backend_class("new")


def test_registering_ends_with_an_error():
    """
    A block that raises takes its registration along.
    """
    with pytest.raises(KeyError), registered("own", Own):
        raise KeyError

    with pytest.raises(UnknownSchemeError):
        backend_class("own")


def test_groups_are_apart(distribution):
    """
    What is registered or installed for asyncio is not for synchronous code.
    """
    distribution("coat-tank", AIO.group, tank="coat_tank:Tank", coat_tank=source("Tank"))
    AIO.register("own", Own)

    assert Own is AIO.find("own")
    assert "Tank" == AIO.find("tank").__name__
    for scheme in ("own", "tank"):
        with pytest.raises(UnknownSchemeError):
            backend_class(scheme)


# -- half-made plugins ------------------------------------------------------------------------

HALF_MADE = {
    "a function": ("def Tank(url):\n    pass", "names function, which is no backend: derive it"),
    "another class": ("class Tank:\n    pass", "names the class Tank, which is no backend"),
    "unfinished": (
        (
            "from coatcheck import KeyValueBackend\n"
            "class Tank(KeyValueBackend):\n"
            "    PROTOCOL_VERSION = 1\n"
            "    def put(self, *args, **options): ...\n"
            "    @classmethod\n"
            "    def from_url(cls, url, *, operation_timeout=5, options=None): ..."
        ),
        "is not finished: it lacks delete_many, get_many",
    ),
    "without from_url": (
        (
            "from coatcheck import KeyValueBackend\n"
            "class Tank(KeyValueBackend):\n"
            "    PROTOCOL_VERSION = 1\n"
            "    put = get_many = delete_many = None"
        ),
        "is not finished: it lacks from_url",
    ),
    "an old from_url": (
        source("Tank") + "    @classmethod\n    def from_url(cls, url, **options): return cls(url)",
        None,
    ),
    "an older from_url": (
        source("Tank")
        + "    @classmethod\n    def from_url(cls, url, *, timeout=5): return cls(url)",
        r"its from_url\(\) does not take \(url, \*, operation_timeout, options\)",
    ),
    "for asyncio": (
        (
            "from coatcheck.aio import KeyValueBackend\n"
            "class Tank(KeyValueBackend):\n"
            "    PROTOCOL_VERSION = 1\n"
            "    put = get_many = delete_many = None\n"
            "    @classmethod\n"
            "    def from_url(cls, url, *, operation_timeout=5, options=None): ..."
        ),
        "offers a backend for asyncio to synchronous code: list it in the group coatcheck.aio_back",
    ),
    "fails": (
        source("Tank") + "    @classmethod\n    def from_url(cls, url, **options): return 1 / 0",
        "coat_tank:Tank failed while it was made for tank://",
    ),
    "returns nothing": (
        source("Tank") + "    @classmethod\n    def from_url(cls, url, **options): ...",
        r"Tank\.from_url\(\) returned NoneType, which is no backend",
    ),
}


@pytest.mark.parametrize("kind", HALF_MADE)
def test_half_made_plugins(distribution, kind):
    """
    A plugin that cannot be used says what is wrong with it, whatever that is.
    """
    text, said = HALF_MADE[kind]
    distribution("coat-tank", GROUP, tank="coat_tank:Tank", coat_tank=text)
    if said is None:
        assert "Tank" == backend_class("tank").__name__
        return
    for side in (coatcheck, coatcheck.aio):
        with pytest.raises(PluginError, match=said) as caught:
            side.by_url("tank://user:s3cret@host/")
        assert "s3cret" not in str(caught.value)


def test_a_plugin_for_asyncio_alone(distribution):
    """
    A plugin that has an entry point for asyncio alone serves both sides, also by name.
    """
    distribution("coat-tank", AIO.group, tank="coat_tank:Tank", coat_tank=AIO_BACKEND)

    celery = {"result_backend": "tank://", "result_expires": 60}
    for made in (
        by_url("tank://"),
        coatcheck.by_name("tank"),
        coatcheck.from_celery_config(celery),
        coatcheck.Results(coatcheck.aio.by_url("tank://").backend.backend),
    ):
        assert isinstance(made.backend.backend, coatcheck.KeyValueBackend)
        assert "Tank" == type(made.backend.backend.native).__name__


@pytest.mark.parametrize("side", [coatcheck, coatcheck.aio])
@pytest.mark.parametrize(
    ("package", "options"),
    [
        ("msgpack", {"serializer": "msgpack"}),
        ("cryptography", {"encryption_keys": "k:0123456789abcdef0123456789abcdef"}),
    ],
)
def test_a_missing_package_is_said_at_once(side, package, options, monkeypatch):
    """
    A package that writing needs is missed when the URL is read, not by the first store.
    """
    for name in [n for n in sys.modules if n.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(PluginError, match=f"needs the package.*{package}|{package}.*missing"):
        side.by_url("memory://", **options)
    assert side.by_url("memory://")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("unix://:s3cret@/tmp/redis.sock", r"write redis\+socket://"),
        ("django-db://", r"write db\+postgresql://"),
        ("django-cache://", "write memcached://"),
        ("amqp://u:s3cret@h/v", r"write rpc\+amqp://"),
        ("amqps://u:s3cret@h/v", r"write rpc\+amqps://"),
        ("postgress://u:s3cret@h/d", "did you mean 'postgres'"),
    ],
)
def test_schemes_of_others(url, said):
    """
    What others call differently is named as it is written here, and nothing that merely sounds alike.
    """
    with pytest.raises(UnknownSchemeError, match=said) as caught:
        by_url(url)
    assert "s3cret" not in str(caught.value)
    assert "mongodb'" not in str(caught.value).partition("(installed")[0]
