"""
Configuration: named backends, where they are found, and what goes over what.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import coatcheck
import coatcheck.aio
from coatcheck._finding.registry import SYNC
from coatcheck._settings import configfile
from coatcheck._settings.options import CORE_OPTIONS
from coatcheck.errors import ConfigurationError, PluginError, UnknownSchemeError

pytestmark = pytest.mark.usefixtures("_fresh_scan", "_here")

TOML = """
[backends.default]
url = "memory://from-file"
expires = 3600

[backends.audit]
url = "memory://audit"
accept = ["json"]
strict = true
expires = "none"
"""
TANK = """
from coatcheck._embedded.memory import MemoryBackend
class Tank(MemoryBackend):
    PROTOCOL_VERSION = 1
    @classmethod
    def from_url(cls, url, *, operation_timeout=5.0, options=None):
        made = cls(url.rest)
        made.seen = url.query, operation_timeout, options
        return made
"""


@pytest.fixture
def _here(tmp_path, monkeypatch):
    """
    The working directory is a new one, and the environment says nothing.
    """
    for name in [
        name for name in os.environ if name.startswith("COATCHECK_") and name != "COATCHECK_PLUGINS"
    ]:
        monkeypatch.delenv(name)
    below = tmp_path / "project" / "package"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)


@pytest.fixture
def project():
    """
    The directory above the working directory.
    """
    return Path.cwd().parent


@pytest.fixture(params=[coatcheck.by_name, coatcheck.aio.by_name], ids=["sync", "aio"])
def by_name(request):
    """
    Either side.
    """
    return request.param


def url_of(results):
    """
    Return the URL that *results* shows.
    """
    return repr(results).partition(" ")[2].rstrip(">")


# -- where it is found ------------------------------------------------------------------------


def test_the_nearest_file_counts(by_name, project):
    """
    From the working directory upwards, the first file that has something for us is taken.
    """
    (project.parent / "coatcheck.toml").write_text('[backends.default]\nurl = "memory://far"')
    assert "memory://far" == url_of(by_name())
    (project / "pyproject.toml").write_text('[project]\nname = "not ours"')
    assert "memory://far" == url_of(by_name())
    (project / "pyproject.toml").write_text('[tool.coatcheck.backends.default]\nurl = "memory://p"')
    assert "memory://p" == url_of(by_name())
    (project / "coatcheck.toml").write_text(TOML)
    assert "memory://from-file" == url_of(by_name())
    Path("pyproject.toml").write_text('[tool.coatcheck.backends.default]\nurl = "memory://here"')
    assert "memory://here" == url_of(by_name())


def test_the_environment_names_a_file(by_name, project, tmp_path, monkeypatch):
    """
    COATCHECK_CONFIG goes over what would be found; a pyproject.toml has its table.
    """
    (project / "coatcheck.toml").write_text(TOML)
    other = tmp_path / "other.toml"
    other.write_text('[backends.default]\nurl = "memory://other"')
    monkeypatch.setenv("COATCHECK_CONFIG", str(other))
    assert "memory://other" == url_of(by_name())

    ours = tmp_path / "pyproject.toml"
    ours.write_text('[tool.coatcheck.backends.default]\nurl = "memory://ours"')
    monkeypatch.setenv("COATCHECK_CONFIG", str(ours))
    assert "memory://ours" == url_of(by_name())

    monkeypatch.setenv("COATCHECK_CONFIG", "")
    assert "memory://from-file" == url_of(by_name())


def test_a_mapping_or_a_path_may_be_given(by_name, project, tmp_path):
    """
    What is given is taken, whatever could be found.
    """
    (project / "coatcheck.toml").write_text(TOML)
    given = {"backends": {"default": {"url": "memory://given", "expires": 5}}}
    path = tmp_path / "given.toml"
    path.write_text('[backends.default]\nurl = "memory://path"')

    results = by_name(config=given)
    assert ("memory://given", 5.0) == (url_of(results), results.expires)
    assert "memory://path" == url_of(by_name(config=path))
    assert "memory://path" == url_of(by_name(config=str(path)))
    with pytest.raises(ConfigurationError, match="no backend is named 'audit'"):
        by_name("audit", config=given)
    assert {"default": {"url": "memory://given", "expires": 5}} == given["backends"]


def test_a_deleted_working_directory_has_no_file(by_name, tmp_path, monkeypatch):
    """
    Where there is no working directory, nothing is found, and schemes work.
    """
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert "memory://" == url_of(by_name("memory"))


@pytest.mark.parametrize(("mode", "owner", "taken"), [(0o777, 1, 0), (0o755, 1, 1), (0o777, 0, 1)])
def test_what_anybody_may_put_there_is_passed_over(project, mode, owner, taken, monkeypatch):
    """
    A file of somebody else, in a directory where anybody may write, is not taken.
    """
    (project / "coatcheck.toml").write_text(TOML)
    project.chmod(mode)
    me = project.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: me + owner)
    if me == 0 and owner:
        os.chown(project / "coatcheck.toml", 5, 5)

    found = configfile.load()
    assert (["default", "audit"] if taken else []) == list(found.backends)


def test_nothing_is_read_at_import(project):
    """
    A file that cannot be read breaks neither the import nor who has a URL.
    """
    (project / "package" / "coatcheck.toml").write_text("not toml")
    code = "import sys, coatcheck; coatcheck.by_url('memory://'); print('coatcheck._settings.configfile' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=Path.cwd()
    )

    assert "False\n" == done.stdout


# -- what a name means ------------------------------------------------------------------------


def test_a_configured_name(by_name, project):
    """
    A table's URL and options make the results; what it lacks is by default.
    """
    (project / "coatcheck.toml").write_text(TOML)
    audit = by_name("audit")

    assert ("memory://audit", None) == (url_of(audit), audit.expires)
    assert (("json",), True) == (audit._codec.accept, audit._codec.strict)
    assert 3600 == by_name().expires == by_name("default").expires


def test_both_sides_meet(project):
    """
    What one side stores by a name the other finds by it.
    """
    (project / "coatcheck.toml").write_text(TOML)
    with coatcheck.by_name() as results:
        results.store_result("t", 1)
        with coatcheck.by_url("memory://from-file") as others:
            assert 1 == others.get_result("t")
        results.forget("t")


def test_a_scheme_with_its_defaults(by_name, distribution, project):
    """
    A name that is not configured may be a scheme, built in or installed; configured ones go over it.
    """
    distribution("coat-tank", SYNC.group, tank="coat_tank:Tank", coat_tank=TANK)

    assert "memory://" == url_of(by_name("memory"))
    assert "tank://" == url_of(by_name("tank", expires=5))
    assert "tank+tls://" == url_of(by_name("tank+tls"))
    (project / "coatcheck.toml").write_text('[backends.memory]\nurl = "memory://mine"')
    assert "memory://mine" == url_of(by_name("memory"))


def test_a_scheme_that_needs_more_than_its_name(by_name):
    """
    A scheme without a default says what it needs.
    """
    with pytest.raises(ConfigurationError, match="the backend 'sqlite': sqlite:// names no file"):
        by_name("sqlite")


def test_a_scheme_that_could_be_installed(by_name, distribution):
    """
    A scheme that a known package would bring is answered with what to install.
    """
    distribution("coat-known", "coatcheck.known", tank="coat_tank [tank]")

    with pytest.raises(UnknownSchemeError, match=r"pip install 'coatcheck\[tank\]'"):
        by_name("tank")


def test_a_broken_plugin_is_named(by_name, distribution, project):
    """
    A configured backend whose plugin cannot be used says so, and where it is configured.
    """
    distribution("coat-tank", SYNC.group, tank="coat_tank:Tank", coat_tank="\n1 / 0\n")
    (project / "coatcheck.toml").write_text('[backends.default]\nurl = "tank://"')

    with pytest.raises(PluginError, match=r"backends.default of .*coatcheck.toml: the plugin coat"):
        by_name()


def test_an_unknown_name(by_name, project):
    """
    The error names the nearest, what is configured, the file, and the schemes.
    """
    (project / "coatcheck.toml").write_text(TOML)

    with pytest.raises(
        ConfigurationError,
        match=r"^no backend is named 'adit'; did you mean 'audit'\? "
        rf"\(configured in {project}/coatcheck.toml: audit, default; schemes: .*disabled, file, ",
    ):
        by_name("adit")


def test_no_configuration_at_all(by_name):
    """
    Where there is no file, the error says which one could be, and how else to name a default.
    """
    with pytest.raises(
        ConfigurationError,
        match=r"'default'; configure one, or set COATCHECK_URL .*no coatcheck.toml, nor pyproject",
    ):
        by_name()


@pytest.mark.parametrize("name", ["redis://:hunter2@h/1", ":hunter2@h", b"hunter2", None, ["x"]])
def test_what_is_no_name(by_name, name):
    """
    A URL, or another type, is refused without showing a secret.
    """
    with pytest.raises(ConfigurationError, match=r"give a URL to by_url\(\)") as caught:
        by_name(name)

    assert "hunter2" not in str(caught.value)


# -- what goes over what ----------------------------------------------------------------------


def test_the_order_of_sources(by_name, monkeypatch):
    """
    Keyword over query over environment over file over default.
    """

    def expires(url, **options):
        return by_name(
            config={"backends": {"default": {"url": url, "expires": 4}}}, **options
        ).expires

    assert 86_400 == by_name("memory").expires
    assert 4 == expires("memory://")
    monkeypatch.setenv("COATCHECK_EXPIRES", "3")
    assert 3 == expires("memory://")
    assert 2 == expires("memory://?expires=2")
    assert 1 == expires("memory://?expires=2", expires=1)
    assert expires("memory://?expires=2", expires=None) is None


def test_the_environment_serves_urls_too(monkeypatch):
    """
    `by_url` reads the environment as well, below the query.
    """
    monkeypatch.setenv("COATCHECK_EXPIRES", "none")
    monkeypatch.setenv("COATCHECK_STRICT", "yes")

    assert coatcheck.by_url("memory://").expires is None
    assert coatcheck.by_url("memory://")._codec.strict
    assert 5 == coatcheck.aio.by_url("memory://?expires=5").expires
    assert 6 == coatcheck.by_url("memory://", expires=6).expires
    monkeypatch.setenv("COATCHECK_STRICT", "")
    assert not coatcheck.by_url("memory://")._codec.strict


ENVIRONMENT = {
    "accept": ("json,pickle", ("json", "pickle")),
    "accept_unsigned": ("1", True),
    "compress_over": ("5000", 5000),
    "compression": ("zlib", "zlib"),
    "encryption_keys": ("two:a secret".replace(" ", "-" * 30), ["two"]),
    "expires": ("60", 60.0),
    "key_prefix": ("mine-", "mine-"),
    "max_inflated": ("7000", 7000),
    "max_values": ("8000", 8000),
    "operation_timeout": ("1.5", 1.5),
    "protect": ("SUCCESS", frozenset({"SUCCESS"})),
    "read_only": ("1", True),
    "safety_look": ("2", 2.0),
    "signing_keys": ("one:a secret".replace(" ", "-" * 30), ["one"]),
    "serializer": ("msgpack", "msgpack"),
    "strict": ("true", True),
    "trusted_exceptions": ("myapp.", ("myapp.",)),
    "unsafe_pickle": ("1", True),
}


def test_every_option_of_the_core_has_its_variable(distribution, monkeypatch):
    """
    Each option that all backends have can be set by the environment, read as from a URL.
    """
    distribution("coat-tank", SYNC.group, tank="coat_tank:Tank", coat_tank=TANK)
    assert set(CORE_OPTIONS) == set(ENVIRONMENT)
    for name, (text, _) in ENVIRONMENT.items():
        monkeypatch.setenv(f"COATCHECK_{name.upper()}", text)
    results = coatcheck.by_name("tank")

    expected = {name: value for name, (_, value) in ENVIRONMENT.items()}
    assert expected["operation_timeout"] == results.backend.backend.seen[1]
    assert (60.0, ("json", "pickle"), True) == (
        results.expires,
        results._codec.accept,
        results._codec.strict,
    )
    assert ("mine-", 2.0, "msgpack") == (
        results._key_prefix,
        results._safety_look,
        results._codec.serializer.name,
    )
    assert (expected["protect"], True) == (results._writer.protect, results._writer.read_only)
    sealer = results._codec._sealer
    assert (7000, 8000) == (sealer._max_inflated, results._codec._max_values)
    assert (["one"], ["two"]) == (list(sealer._signing), list(sealer._encryption))
    assert ("zlib", 5000, False) == (sealer._compress, sealer._over, sealer.guarded)


def test_the_url_of_the_environment_is_the_default(by_name, project, monkeypatch):
    """
    COATCHECK_URL replaces the default's URL, with or without a file; the options that are not of
    one kind of backend stay, and other names are as they are.
    """
    monkeypatch.setenv("COATCHECK_URL", "memory://environment")
    assert "memory://environment" == url_of(by_name())
    (project / "coatcheck.toml").write_text(
        f'{TOML}\n[backends.x]\nurl = "memory://x"'.replace("3600", "3600\nsocket_timeout = 3")
    )

    assert ("memory://environment", 3600) == (url_of(by_name()), by_name().expires)
    assert "memory://audit" == url_of(by_name("audit"))


def test_options_of_the_backend_itself(by_name, distribution, monkeypatch):
    """
    A backend's own options come from keywords, the query and the file, in this order; the
    environment has none of them.
    """
    distribution("coat-tank", SYNC.group, tank="coat_tank:Tank", coat_tank=TANK)
    monkeypatch.setenv("COATCHECK_POOL", "9")
    table = {"url": "tank://h?pool=2&db=3", "pool": 4, "size": {"a": 1}, "limit": 5}
    results = by_name(config={"backends": {"default": table}}, limit=6)
    backend = results.backend
    while not hasattr(backend, "seen"):
        backend = backend.backend

    assert ({"pool": "2", "db": "3"}, 5.0, {"size": {"a": 1}, "limit": 6}) == backend.seen


# -- what is wrong with it --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[backend.default]", "unknown key 'backend': did you mean 'backends'?"),
        ("[colours]", "unknown key 'colours': there is backends"),
        ("backends = 5", "backends has to be a table of tables"),
        ("[[backends]]", "backends has to be a table of tables"),
        (
            'backends.default = "redis://:hunter2@h"',
            "backends.default of {path}: write a table with",
        ),
        ("[backends.default]", 'backends.default of {path}: it needs url = "..."'),
        ("[backends.default]\nurl = 5", 'backends.default of {path}: it needs url = "..."'),
        ("[backends.default]\nurl = ''", 'backends.default of {path}: it needs url = "..."'),
        (
            "[backends.default]\nurl = '/hunter2@x'",
            "backends.default of {path}: '***@x' is not a URL",
        ),
        ("[backends.default]\nurl = 'memroy://:hunter2@h'", "did you mean 'memory'?"),
        (
            "[backends.default]\nurl = 'memory://'\nexpirs = 'hunter2'",
            "backends.default of {path}: memory:// has no option 'expirs': did you mean 'expires'?",
        ),
        (
            "[backends.default]\nurl = 'memory://'\nexpires = 'hunter2'",
            "the option 'expires' of backends.default of {path}: use a positive number",
        ),
        (
            "[backends.default]\nurl = 'memory://?strict=hunter2'",
            "backends.default of {path}: the option 'strict' of memory://: use 1 or 0",
        ),
        ("[backends.default", "{path} is not TOML: "),
        ("x = '\udcff'", "{path} is not TOML: "),
    ],
)
def test_a_wrong_file_is_named(by_name, project, text, said):
    """
    What is wrong names the file and the key, and shows no value.
    """
    path = project / "coatcheck.toml"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")

    with pytest.raises(ConfigurationError) as caught:
        by_name()
    assert said.format(path=path) in str(caught.value)
    assert str(path) in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["[tool]\ncoatcheck = 5", "[tool.coatcheck]\nurl = 'x'"])
def test_a_wrong_project_file_is_named(by_name, project, text):
    """
    In pyproject.toml too, what is wrong in our table is named.
    """
    path = project / "pyproject.toml"
    path.write_text(text)

    with pytest.raises(ConfigurationError, match=f"^{path}: "):
        by_name()


def test_a_project_file_of_others_may_hold_anything(by_name, project):
    """
    A pyproject.toml whose tool is no table is not ours.
    """
    (project / "pyproject.toml").write_text("tool = 5")

    assert "memory://" == url_of(by_name("memory"))


def test_a_file_that_is_not_there(by_name, tmp_path, monkeypatch):
    """
    A file that is named and missing is an error, which says who named it.
    """
    missing = tmp_path / "missing.toml"
    with pytest.raises(ConfigurationError, match=f"^{missing}: No such file"):
        by_name(config=missing)
    monkeypatch.setenv("COATCHECK_CONFIG", str(missing))

    with pytest.raises(ConfigurationError, match=f"COATCHECK_CONFIG names .*: {missing}: No such"):
        by_name()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        (
            "COATCHECK_EXPIRES",
            "hunter2",
            "the option 'expires' of COATCHECK_EXPIRES: use a positive",
        ),
        ("COATCHECK_STRICT", "hunter2", "the option 'strict' of COATCHECK_STRICT: use 1 or 0"),
        ("COATCHECK_URL", "nope://:hunter2@h", "COATCHECK_URL: no backend for the scheme 'nope'"),
    ],
)
def test_a_wrong_variable_is_named(by_name, monkeypatch, variable, value, said):
    """
    What is wrong in the environment names the variable, and shows no value.
    """
    monkeypatch.setenv("COATCHECK_URL", "memory://")
    monkeypatch.setenv(variable, value)

    with pytest.raises(ConfigurationError) as caught:
        by_name()
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_secrets_are_masked(by_name, project):
    """
    A configured URL is shown without its secrets.
    """
    (project / "coatcheck.toml").write_text(
        '[backends.default]\nurl = "memory://:hunter2@h?strict=1"'
    )

    assert "memory://***@h?strict=***" == url_of(by_name())


TRUST = {
    "pickle": 'url = "memory://x"\naccept = ["json", "pickle"]',
    "pickle in the query": 'url = "memory://x?accept=json,pickle"',
    "yaml": 'url = "memory://x"\naccept = "yaml"',
    "serializer": 'url = "memory://x"\nserializer = "pickle"',
    "unsafe": 'url = "memory://x"\nunsafe_pickle = true',
    "exceptions": 'url = "memory://x"\ntrusted_exceptions = ["os."]',
    "signing": 'url = "memory://x"\nsigning_keys = "env:HOME"',
    "encryption": 'url = "memory://x"\nencryption_keys = "file:/etc/passwd"',
    "unsigned": 'url = "memory://x"\naccept_unsigned = "yes"',
    "limit": 'url = "memory://x"\nmax_values = 1_000_000_000',
    "other limit": 'url = "memory://x?max_inflated=1000000000"',
    "file": 'url = "postgresql://h/db?passfile=/home/me/.pgpass"',
    "option": 'url = "redis://h"\nssl_keyfile = "/home/me/.ssh/id"',
    "infile": 'url = "mysql://h/db?local_infile=1"',
    "driver": 'url = "db+postgresql+evil://h/db"',
    "other driver": 'url = "mysql+evil://h/db"',
}


@pytest.mark.parametrize("name", ["coatcheck.toml", "pyproject.toml"])
@pytest.mark.parametrize("text", TRUST.values(), ids=TRUST)
def test_a_found_file_says_nothing_of_trust(by_name, project, monkeypatch, text, name):
    """
    The error names the file and the way out, and a file that was named may say it.
    """
    table = "backends.default" if name == "coatcheck.toml" else "tool.coatcheck.backends.default"
    path = project / name
    path.write_text(f"[{table}]\n{text}\n")
    for other in {"coatcheck.toml", "pyproject.toml"} - {name}:
        (project / other).unlink(missing_ok=True)

    with pytest.raises(ConfigurationError, match="COATCHECK_CONFIG") as raised:
        by_name()
    assert str(path) in str(raised.value)

    monkeypatch.setenv("COATCHECK_CONFIG", str(path))
    said = ""
    try:
        by_name()
    except ConfigurationError as error:  # of a driver that is not there, for one
        said = str(error)
    assert "only found" not in said


def test_a_found_file_says_how_records_are_kept(by_name, project):
    """
    Everything else stays as it was.
    """
    (project / "coatcheck.toml").write_text(
        "[backends.default]\n"
        'url = "memory://x?compress_over=10"\naccept = ["json"]\nunsafe_pickle = false\n'
        'strict = true\nmax_values = 100\nprotect = "SUCCESS"\nread_only = true\n'
    )

    assert by_name().protect == {"SUCCESS"}
