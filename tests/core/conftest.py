"""
What several test modules of core set up.
"""

import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from coatcheck._finding import registry
from coatcheck._runtime import entrypoints

# No test fails for being slow.
settings.register_profile("coatcheck", deadline=None)
settings.load_profile("coatcheck")


@pytest.fixture(autouse=True)
def _heeded_signals():
    """
    Signals are heeded, here and in what is started, also where whoever started the tests had them
    ignored: as nohup does with SIGHUP, and a shell with the SIGINT of what it runs in the background.
    """
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    ignored = [number for number in usual if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, usual[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture
def _fresh_scan(monkeypatch):
    """
    Nothing is found, loaded or registered that another test set up.
    """
    for each in (registry.SYNC, registry.AIO):
        monkeypatch.setattr(each, "_loaded", {})
        monkeypatch.setattr(each, "_registered", {})
    forget = entrypoints._scan.cache_clear
    forget()
    yield
    forget()


@pytest.fixture
def distribution(tmp_path, monkeypatch, _fresh_scan):
    """
    Return a function that installs a distribution in a directory of its own on the path.

    Keywords whose value holds a line break are modules with their source; others are entry
    points of the group.
    """
    modules = set(sys.modules)

    def install(name: str, group: str, version: str = "1.0", **contents: str) -> Path:
        place = tmp_path / f"{name}-{version}"
        info = place / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        points = [f"{key} = {value}" for key, value in contents.items() if "\n" not in value]
        (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *points]) + "\n")
        for module, source in contents.items():
            if "\n" in source:
                (place / f"{module}.py").write_text(source)
        monkeypatch.syspath_prepend(str(place))
        entrypoints.rescan()
        return place

    yield install
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
