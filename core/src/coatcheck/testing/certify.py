"""
Runs the contract against a live store, in a process of its own, and collects the outcomes.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from .. import __version__, by_url
from .._finding.registry import AIO, BUILTIN, SYNC
from .._results.results import Results
from .._runtime import entrypoints
from .._settings.url import URL, masked
from ..errors import BackendError, ConfigurationError, UnsupportedError
from .certificate import WHY, Certificate, Outcome, Test
from .outcomes import DESCRIPTOR
from .patience import PATIENCE
from .place import Place, is_free
from .proof import LONG, has_keys, innermost
from .proxy import Proxy

_OUTCOMES: Final[dict[str, Outcome]] = {
    "passed": "kept",
    "skipped": "left out",
    "failed": "broken",
}
#: Receives how many tests have ended, of how many, and how many of them failed.
Progress = Callable[[int, int, int], None]

#: The options of pytest: no plugin, no setting and no file of the directory has a say.
_OPTIONS: Final = (
    *("-q", "--tb=short", "--noconftest", "-c", os.devnull),
    *("-p", "no:cacheprovider", "-p", "coatcheck.testing.outcomes"),
)


def certify(
    url: str, *, quick: bool = False, long: bool = False, progress: Progress | None = None
) -> Certificate:
    """
    Run the contract of both sides in a place of its own in the store of *url*, and empty that place.

    Raises `BackendError` if the store cannot be reached, and `ConfigurationError` if the store has no place
    for the contract.

    Args:
        quick: run the few most telling tests only.
        long: run those that take minutes, too.
    """
    with tempfile.TemporaryDirectory() as directory, by_url(url) as results:
        results.exists("certify")
        found = _described(url, results)
        place = _place(url, results, Path(directory) / "keys")
        found.quick = quick
        with _contract(place, directory, quick=quick, long=long) as messages:
            _collect(found, messages, progress or (lambda *_: None))
    return found


# -- before -----------------------------------------------------------------------------------


def _described(url: str, results: Results) -> Certificate:
    backend = innermost(results.backend)
    return Certificate(
        url=masked(url),
        versions=_versions(url, _server_of(backend)),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        capabilities=[str(each.name) for each in results.capabilities],
        max_value_bytes=backend.max_value_bytes,
        expires_resolution=backend.expires_resolution,
    )


def _server_of(backend: Any) -> str | None:
    with suppress(BackendError):  # where it may not be asked
        version: str | None = backend.checkup().version()
        return version
    return None


def _versions(url: str, server: str | None) -> dict[str, str]:
    scheme = URL(url).scheme
    names = [scheme, scheme.partition("+")[0]]
    entries = [
        e for name in names for side in (SYNC, AIO) for e in entrypoints.named(side.group, name)
    ]
    own = "coatcheck" if names[1] in BUILTIN else "not installed: registered by the program"
    return {
        "coatcheck": __version__,
        "backend": entrypoints.owner(entries[0]) if entries else own,
        **({} if server is None else {"server": server}),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
    }


def _place(url: str, results: Results, ledger: Path) -> Place:
    try:
        free = is_free(results)
    except UnsupportedError as error:
        raise ConfigurationError(
            f"{masked(url)} cannot be certified: its records have no prefix of keys, and whether the place "
            f"that the URL names is empty cannot be seen: {error}"
        ) from None
    if not free:
        raise ConfigurationError(
            f"{masked(url)} has records, and no prefix of keys to keep others apart: name an empty place in "
            "the URL, such as another table, collection or database"
        )
    ledger.touch()
    proxied = _can_be_proxied(url)
    name = f"certify-{uuid.uuid4().hex[:12]}"
    return Place(url, name, keyed=has_keys(results), proxied=proxied, ledger=str(ledger))


def _can_be_proxied(url: str) -> bool:
    """Whether all traffic of a client goes through a proxy that the URL names."""
    from .certified import address_in, by_way_of  # noqa: PLC0415 - the proof itself, with the contract

    try:
        address = address_in(url)
        with Proxy(*address) as proxy, by_url(by_way_of(url, proxy.port)) as through:
            through.exists("certify")
    except (ValueError, BackendError):
        return False
    with by_url(by_way_of(url, proxy.port), operation_timeout=1.0) as away:
        try:
            away.exists("certify")
        except BackendError:
            return True
    return False


# -- the run ----------------------------------------------------------------------------------


@contextmanager
def _contract(
    place: Place, directory: str, *, quick: bool, long: bool
) -> Iterator[Iterator[dict[str, Any]]]:
    """Start pytest, and give the messages of its plugin."""
    reading, writing = os.pipe()
    environment = place.environment() | {
        DESCRIPTOR: str(writing),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        # The process finds the plugins of this one, too.
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    if long:
        environment = {"COATCHECK_TESTING_PATIENCE": "90", **environment, LONG: "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    chosen = ["-k", "contract_core or test_latencies or test_shape"] if quick else []
    tests = Path(__file__).with_name("certified.py")
    command = [
        sys.executable,
        "-m",
        "pytest",
        *_OPTIONS,
        "--rootdir",
        directory,
        *chosen,
        str(tests),
    ]
    output = Path(directory) / "output"
    with output.open("wb") as file, os.fdopen(reading) as messages:
        process = subprocess.Popen(
            command, cwd=directory, env=environment, pass_fds=[writing], stdin=subprocess.DEVNULL, stdout=file,
            stderr=file, start_new_session=True,  # the terminal interrupts us alone
        )  # fmt: skip
        os.close(writing)
        try:
            yield map(json.loads, messages)
        except BaseException:
            process.send_signal(signal.SIGINT)
            raise
        finally:
            _end(process)
        said = output.read_text(errors="replace").strip()
    if process.returncode not in (0, 1):
        raise ConfigurationError(f"the contract did not run: {said[-2000:] or process.returncode}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait until *process* has deleted its records and ended; kill it if that takes too long."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(3 * PATIENCE)
    process.kill()
    process.wait()


def _collect(found: Certificate, messages: Iterator[dict[str, Any]], progress: Progress) -> None:
    count, seen = 0, set()
    for message in messages:
        if "count" in message:
            count = message["count"]
            found.tests += [_left_out(*test) for test in message["left_out"]]
        elif "test" in message:
            seen.add(message["test"])
            _take(found, message)
            progress(len(seen), count, len(found.broken))
        else:
            found.left = message["left"]
            found.errors += (
                [f"records could not be deleted: {message['error']}"] if message["error"] else []
            )
            return
    found.errors.append("the contract did not come to its end")


def _left_out(name: str, needs: list[str], promises: list[int]) -> Test:
    proof, _, name = name.partition("::")
    return Test(_side_of(proof), name, promises, "left out", reason=WHY[needs[0]])


def _side_of(proof: str) -> Literal["sync", "asyncio"]:
    return "asyncio" if proof.endswith("Aio") else "sync"


def _take(found: Certificate, message: dict[str, Any]) -> None:
    proof, _, name = message["test"].rpartition("::")
    if not proof:
        _take_measured(found, message)
        return
    outcome = _OUTCOMES[message["outcome"]]
    told = message["failure"] or {"reason": message["reason"]}
    test = Test(
        _side_of(proof),
        name,
        message["promises"],
        outcome,
        message["seconds"],
        **told,
    )
    # One that fails in its end as well is told twice.
    found.tests = [t for t in found.tests if (t.side, t.name) != (test.side, test.name)] + [test]


def _take_measured(found: Certificate, message: dict[str, Any]) -> None:
    if message["latencies"] is not None:
        found.latencies = message["latencies"]
    else:
        found.errors.append(f"the latencies could not be measured: {message['reason']}")
