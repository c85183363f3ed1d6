"""
What installed distributions offer: one scan, and an error for each way a plugin can be broken.
"""

import importlib_metadata
import pytest

from coatcheck._runtime import entrypoints
from coatcheck.errors import PluginError

GROUP = "coatcheck.backends"


def test_distributions_are_scanned_once(distribution, monkeypatch):
    """
    Any number of look-ups is one scan of the environment.
    """
    scans = []
    real = importlib_metadata.entry_points
    monkeypatch.setattr(importlib_metadata, "entry_points", lambda: scans.append(1) or real())
    distribution("coat-x", GROUP, x="coat_x:X", y="coat_x:Y")

    names = {entry.name for entry in entrypoints.all_of(GROUP)}

    assert {"x", "y"} <= names
    assert ["x"] == [entry.name for entry in entrypoints.named(GROUP, "x")]
    assert [] == entrypoints.named(GROUP, "z")
    assert [] == entrypoints.named("coatcheck.nosuch", "x")
    assert [1] == scans


def test_owners_are_named_with_their_version(distribution):
    """
    An entry point is named by its distribution and version, else by what it says.
    """
    distribution("coat-x", GROUP, version="2.5", x="coat_x:X")

    assert "coat-x 2.5" == entrypoints.owner(entrypoints.named(GROUP, "x")[0])
    assert "a:B" == entrypoints.owner(importlib_metadata.EntryPoint("x", "a:B", GROUP))


BROKEN = {
    "driver": (
        "\nimport no_such_driver.sub\n",
        (
            r"coat-x 1\.0 is installed, but the package 'no_such_driver' that it needs is missing: "
            "pip install --upgrade coat-x"
        ),
    ),
    "attribute": ("\nOTHER = 1\n", r"coat-x 1\.0 failed while it was imported: AttributeError"),
    "error": (
        "\n1 / 0\n",
        r"coat-x 1\.0 failed while it was imported: ZeroDivisionError: division",
    ),
    "syntax": ("\ndef\n", r"coat-x 1\.0 failed while it was imported: SyntaxError"),
    "name": (
        "\nfrom os import nosuch\n",
        r"failed while it was imported: ImportError: cannot import",
    ),
    "own": ("\nimport coat_x.sub\n", r"coat-x 1\.0 cannot be imported: No module.*; reinstall it"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_plugins_say_what_is_wrong(distribution, kind):
    """
    A missing driver, a plugin that is not all there and one that fails are told apart.
    """
    source, message = BROKEN[kind]
    distribution("coat-x", GROUP, x="coat_x:X", coat_x=source)

    with pytest.raises(PluginError, match=message) as info:
        entrypoints.load(entrypoints.named(GROUP, "x")[0])

    assert info.value.__cause__ is not None


def test_plugins_whose_module_is_gone(distribution):
    """
    A distribution without its module has to be installed again.
    """
    distribution("coat-x", GROUP, x="coat_x.sub:X")

    with pytest.raises(PluginError, match=r"coat-x 1\.0 cannot be imported.*reinstall it"):
        entrypoints.load(entrypoints.named(GROUP, "x")[0])


def test_entry_points_without_a_distribution(monkeypatch):
    """
    An entry point of no distribution is named by its module.
    """
    entry = importlib_metadata.EntryPoint("x", "encodings.nosuch_driver:X", GROUP)
    with pytest.raises(PluginError, match=r"encodings.nosuch_driver:X cannot be imported"):
        entrypoints.load(entry)


def test_missing_drivers_without_a_distribution(tmp_path, monkeypatch):
    """
    The hint names the module where there is no distribution to name.
    """
    (tmp_path / "orphan_plugin.py").write_text("import no_such_driver")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = importlib_metadata.EntryPoint("x", "orphan_plugin:X", GROUP)

    with pytest.raises(PluginError, match="pip install --upgrade orphan_plugin"):
        entrypoints.load(entry)


def test_malformed_entry_points_break_nobody_else(distribution):
    """
    An entry point that cannot be parsed is an error of its own only.
    """
    distribution("coat-bad", GROUP, bad="not an entry point")
    distribution("coat-x", GROUP, x="coat_x:X", coat_x="\nX = 5\n")

    assert 5 == entrypoints.load(entrypoints.named(GROUP, "x")[0])
    with pytest.raises(PluginError, match=r"coat-bad 1\.0 failed"):
        entrypoints.load(entrypoints.named(GROUP, "bad")[0])


def test_what_is_found_can_be_forgotten(distribution):
    """
    After a rescan what was installed meanwhile is found.
    """
    assert [] == entrypoints.named(GROUP, "x")
    distribution("coat-x", GROUP, x="coat_x:X")

    assert 1 == len(entrypoints.named(GROUP, "x"))
