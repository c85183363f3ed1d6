"""
The tasks of the workspace; `nox -l` lists them. Members are found by glob: a new one changes
nothing here.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"  # a missing Python is skipped, and an error where CI is set
nox.options.sessions = ["lint", "typing", "tests"]

ROOT = Path(__file__).parent
DIST = ROOT / "dist"
GROUPS = nox.project.load_toml("pyproject.toml")
MEMBERS = [
    path.parent.relative_to(ROOT)
    for pattern in ("core", "plugins/*", "contrib/*")
    for path in sorted(ROOT.glob(f"{pattern}/pyproject.toml"))
]
#: Those that every change is tested on; the classifiers may declare more.
PYTHONS = ["3.11", "3.12", "3.13"]
SOURCES = [f"{member}/src" for member in MEMBERS]
#: The tests of plain pytest; see `addopts` in pyproject.toml.
PLAIN = "not long and not chaos and not environments"
#: Without servers, and without the tests of the contract itself; most of those run tests.
QUICK = ["-m", f"not server and {PLAIN}", "--ignore=tests/core/testing"]
QUICK_ENV = {"COATCHECK_TESTING_QUICK": "1", "COATCHECK_TESTING_CONTRACT": "core"}
#: Tests mostly wait: one process more than there are CPUs, each with servers of its own.
AT_ONCE = ["-n", str((os.cpu_count() or 1) + 1), "--dist", "worksteal"]


def wake_pyenv() -> None:
    """
    Let nox see every Python of pyenv, whose shims answer only for the chosen one.
    """
    if "PYENV_VERSION" in os.environ or shutil.which("pyenv") is None:
        return
    known = subprocess.run(
        ["pyenv", "versions", "--bare", "--skip-aliases"],
        check=False,
        capture_output=True,
        text=True,
    ).stdout.split()
    found = [version for version in known if version.rpartition(".")[0] in PYTHONS]
    # The running one first, so that plain `python` stays the same.
    found.sort(key=lambda version: version != platform.python_version())
    if found:
        os.environ["PYENV_VERSION"] = ":".join(found)


wake_pyenv()
# One member observes the others as soon as it is installed; only its own tests want that.
os.environ["COATCHECK_PLUGINS"] = ""


def group(name: str) -> list[str]:
    """
    Return the requirements of a dependency group of the workspace.
    """
    return list(nox.project.dependency_groups(GROUPS, name))


def members() -> list[str]:
    """
    Return the arguments that install the members with all extras from this checkout.

    Editable, so that coverage is of the files of the checkout; `build` tests the wheels. All in one
    command, or the index would be asked for one of them.
    """
    paths = [f"./{path}[all]" if path.name == "core" else f"./{path}" for path in MEMBERS]
    return [argument for path in paths for argument in ("-e", path)]


def tests_of(member: Path) -> Path:
    """
    Return the directory of a member's tests.
    """
    return Path("tests", member)


def alone(member: Path, *others: Path) -> list[str]:
    """
    Return the arguments that install core, one member, and *others*, with the extras that name no member.
    """
    paths = dict.fromkeys([Path("core"), member, *others])
    return [argument for path in paths for argument in ("-e", f"./{path}[{own_extras(path)}]")]


def own_extras(member: Path) -> str:
    """
    Return the names of those extras of a member that ask for no other member.
    """
    extras = nox.project.load_toml(member / "pyproject.toml")["project"].get(
        "optional-dependencies", {}
    )
    return ",".join(name for name, asked in extras.items() if "coatcheck" not in str(asked))


#: Imports each module of the package that it is given.
IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith(".__main__"):
        importlib.import_module(module.name)
"""


#: The servers and shells of the tests, with their packages of Debian and of Homebrew. The others, and
#: other versions of Redis, come as wheels; those do not speak TLS.
SERVERS = {
    "redis-server": "redis-server",
    "memcached": "memcached",
    "postgres": "postgresql",
    "mariadbd": "mariadb-server",
    "pgbouncer": "pgbouncer",
    "rabbitmq-server": "rabbitmq-server",
    "fish": "fish",
    "zsh": "zsh",
}
#: What Debian calls the service of a package, where that is not the package's name.
SERVICES = {"mariadb-server": "mariadb"}


def is_there(program: str) -> bool:
    """
    Whether *program* is on PATH, or where Debian keeps it.
    """
    sbin = Path("/usr/sbin", program)
    debians = Path("/usr/lib/postgresql").glob(f"*/bin/{program}")
    return shutil.which(program) is not None or sbin.exists() or any(debians)


def ready_servers(session: nox.Session) -> None:
    """
    Provide the servers and shells that do not come as wheels.
    """
    missing = [package for program, package in SERVERS.items() if not is_there(program)]
    if not missing:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        session.warn(f"not on PATH, and some tests need them: {', '.join(missing)} (apt-get, brew)")
        return
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    # One broken source must not be the end, as long as the packages are found.
    session.run("apt-get", "update", external=True, success_codes=[0, 100])
    install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    session.run(*install, external=True, env=quiet)
    # Debian starts the services that it installs. The tests must not find these.
    if shutil.which("service"):
        for package in missing:
            service = SERVICES.get(package, package)
            session.run("service", service, "stop", external=True, success_codes=range(256))


@nox.session
def lint(session: nox.Session) -> None:
    """
    Run ruff, as linter and as formatter, and look for misspelled words and for words that only we would use.
    """
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    # Tests misspell words on purpose.
    session.run(
        "codespell", "--skip=*.svg,generated", *map(str, ROOT.glob("*.md")), "docs", *SOURCES
    )
    session.run("python", "docs/words.py")


@nox.session
def typing(session: nox.Session) -> None:
    """
    Run mypy over the members, mypy and pyright over the type tests; arguments go to mypy.

    Every public name of core must have a type that both understand.
    """
    session.install(*group("typing"), *group("tests"), *members())
    session.run("mypy", *SOURCES, "tests/typing", *session.posargs)
    session.run("pyright")
    session.run("pyright", "--verifytypes", "coatcheck", "--ignoreexternal")


@nox.session
def quick(session: nox.Session) -> None:
    """
    Lint, check types, and run every test that needs no server; arguments go to pytest.
    """
    session.install(*group("lint"), *group("typing"), *group("tests"), *members())
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy", *SOURCES, "tests/typing")
    run = ["pytest", *AT_ONCE, "-q", *QUICK, "--ignore=tests/packaging", *session.posargs]
    session.run(*run, env=QUICK_ENV)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """
    Run all tests with all members in one environment; arguments go to pytest.
    """
    ready_servers(session)
    session.install(*group("tests"), *members())
    session.run("pytest", *AT_ONCE, "--ignore=tests/packaging", *session.posargs)  # of `build`


@nox.session(python=PYTHONS)
@nox.parametrize(
    "member",
    [
        nox.param(path, id=path.name, tags=["core" if path.name == "core" else "stores"])
        for path in MEMBERS
    ],
)
def store(session: nox.Session, member: Path) -> None:
    """
    Run the tests of one member with no other member installed; arguments go to pytest.

    With `COATCHECK_TESTING_CONTRACT=core` the contract is left out but for its most telling tests.

    So a hidden dependency fails. The dependency group `tests-MEMBER` names other members that the tests
    need; they are installed after all modules of the member were imported without them.
    """
    ready_servers(session)
    session.install(*alone(member))
    session.run("python", "-c", IMPORT_ALL, next(Path(member, "src").iterdir()).name)
    named = f"tests-{member.name}"
    wanted = group(named) if named in GROUPS["dependency-groups"] else []
    others = [path for path in MEMBERS if f"coatcheck-{path.name}" in wanted]
    session.install(*group("tests"), *wanted, *alone(member, *others))
    session.run("pytest", *AT_ONCE, str(tests_of(member)), *session.posargs)


@nox.session(python=PYTHONS)
def together(session: nox.Session) -> None:
    """
    Run the tests that belong to no single member; arguments go to pytest.
    """
    ready_servers(session)
    session.install(*group("tests"), *members())
    left_out = [f"--ignore={path}" for path in (*map(tests_of, MEMBERS), "tests/packaging")]
    session.run("pytest", *AT_ONCE, *left_out, "tests", *session.posargs)


@nox.session
def long(session: nox.Session) -> None:
    """
    Run the tests that `tests` leaves out for their length; arguments go to pytest.

    They run the whole contract on every form of a store, and failovers of sentinels and clusters.
    """
    ready_servers(session)
    session.install(*group("tests"), *members())
    session.run("pytest", *AT_ONCE, "-m", "long", "--ignore=tests/packaging", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """
    Run every store under faults: the short form, or at length with arguments; `--help` lists them.
    """
    ready_servers(session)
    session.install(*group("tests"), *members())
    if session.posargs:
        session.run("python", "tests/chaos/run.py", *session.posargs)
    else:
        session.run("pytest", "-n", "2", "-m", "chaos", "--ignore=tests/packaging")


@nox.session
def interruptions(session: nox.Session) -> None:
    """
    Interrupt every operation of every store at every place where CPython runs signal handlers, and by
    storms of alarms; arguments go to pytest. Takes minutes for each store.
    """
    ready_servers(session)
    session.install(*group("tests"), *members())
    run = [
        "pytest",
        "-n",
        "2",
        "-m",
        "chaos",
        "-k",
        "interrupted_everywhere or storm_of_signals or thousand",
    ]
    # Up to 1,700 interruptions of one store are one test, which may take five times the patience.
    asked = {"COATCHECK_TESTING_LONG": "1", "COATCHECK_TESTING_PATIENCE": "90"}
    session.run(*run, "--ignore=tests/packaging", *session.posargs, env=asked)


@nox.session(python=PYTHONS)
def environments(session: nox.Session) -> None:
    """
    Use every store where people do: under web servers that fork, in notebooks, with patched
    threads, stopped clocks, other loops and too few descriptors.
    """
    ready_servers(session)
    session.install(*group("tests"), *group("environments"), *members())
    # One process: all tests share the servers, and programs run side by side.
    session.run("pytest", "-n", "0", "-m", "environments", "tests/environments", *session.posargs)


#: How many inputs each decoder gets by default.
RUNS = 20_000


@nox.session(python=PYTHONS[0])
def fuzz(session: nox.Session) -> None:
    """
    Fuzz the decoders, all or those that are named; other arguments go to libFuzzer: `-runs=1000000`.
    """
    session.install(*group("fuzz"), *group("tests"), *members())
    script = str(ROOT / "tests" / "fuzz" / "guided.py")
    listed = session.run("python", script, silent=True)
    options = [argument for argument in session.posargs if argument.startswith("-")]
    chosen = [argument for argument in session.posargs if argument not in options]
    # It leaves its findings there.
    session.chdir(session.create_tmp())
    for name in chosen or str(listed).split():
        session.run("python", script, name, f"-runs={RUNS}", "-print_final_stats=1", *options)


@nox.session(python=PYTHONS[-1])
@nox.parametrize("of", ["core", "everything"], ids=["core", "everything"])
def coverage(session: nox.Session, of: str) -> None:
    """
    Measure coverage with branches; fail if less of core is covered than pyproject.toml demands.

    `tests` does not measure it: tracing slows a process down, and many tests are about time. Arguments
    go to pytest.
    """
    if of == "core":
        session.install(*group("tests"), *alone(Path("core")))
        paths = ["tests/core", *QUICK]
        report = ["--include=core/src/*", "--omit=core/src/coatcheck/testing/*"]
    else:
        ready_servers(session)
        session.install(*group("tests"), *members())
        paths, report = ["tests", "--ignore=tests/packaging"], ["--fail-under=0"]
    session.run("coverage", "erase")
    quick = QUICK_ENV if of == "core" else {}
    session.run("coverage", "run", "-m", "pytest", *AT_ONCE, *paths, *session.posargs, env=quick)
    # Processes that tests kill leave files cut short.
    session.run("coverage", "combine", "--quiet", success_codes=[0, 1])
    session.run("coverage", "report", *report)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """
    Run the tests with the lowest version of every dependency that the members allow.
    """
    ready_servers(session)
    session.install("uv")
    python = str(Path(session.bin) / "python")
    resolve = ["uv", "pip", "install", "--python", python, "--resolution=lowest-direct"]
    # With the tools of the tests, which would raise some of them otherwise.
    session.run(*resolve, *group("tests"), *members())
    session.run("uv", "pip", "list", "--python", python)
    session.run("pytest", *AT_ONCE, "--ignore=tests/packaging", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """
    Build the documentation into build/docs; a warning is an error. With `-- serve`, show it as well; with
    `-- linkcheck`, ask the servers of others whether our links to them still lead somewhere.
    """
    session.install(*group("docs"), *members())
    strict = ["--fail-on-warning", "--keep-going", "--fresh-env"]
    posargs = [argument for argument in session.posargs if argument not in ("serve", "linkcheck")]
    session.run("sphinx-build", *strict, "docs", "build/docs", *posargs)
    session.run("python", "docs/site.py", "build/docs")
    if "linkcheck" in session.posargs:
        session.run("sphinx-build", "-b", "linkcheck", "docs", "build/linkcheck", *posargs)
    if "serve" in session.posargs:
        session.run("python", "-m", "http.server", "--directory", "build/docs", "8080")


@nox.session
def pictures(session: nox.Session) -> None:
    """
    Draw the pictures of the documentation again, from real runs.
    """
    session.install(*group("pictures"), *alone(Path("core"), Path("contrib", "web")))
    for script in sorted(ROOT.glob("docs/pictures/*.py")):
        session.run("python", str(script))


@nox.session
def bench(session: nox.Session) -> None:
    """
    Run the benchmarks, all or those that are named; further arguments go to each of them.
    """
    scripts = sorted(ROOT.glob("tests/bench/bench_*.py"))
    names = [path.stem for path in scripts]
    chosen = [argument for argument in session.posargs if argument in names]
    options = [argument for argument in session.posargs if argument not in names]
    if not scripts:
        session.log("there are no benchmarks yet: nothing in tests/bench is called bench_*.py")
        return
    ready_servers(session)
    session.install(*group("tests"), *group("peers"), *members())
    # It asks for a redis-py before 6, but uses only the parts that ours has, too.
    session.install("--no-deps", "arq>=0.28")
    for path in scripts:
        if path.stem in (chosen or names):
            session.run("python", str(path), *options)


@nox.session
def build(session: nox.Session) -> None:
    """
    Build wheels and sdists of all members into dist/, and test those; arguments go to pytest.
    """
    session.install(*group("build"), *group("tests"))
    shutil.rmtree(DIST, ignore_errors=True)
    for member in MEMBERS:
        session.run(
            "python", "-m", "build", "--installer", "uv", "--outdir", str(DIST), str(member)
        )
    session.run("twine", "check", "--strict", *map(str, sorted(DIST.iterdir())))
    # The conftest.py above is for tests that import coatcheck; these must not find a checkout.
    session.run(
        "pytest",
        "--confcutdir=tests/packaging",
        "tests/packaging",
        *session.posargs,
        env={"COATCHECK_DIST": str(DIST)},
    )
