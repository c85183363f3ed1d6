"""
The checks of a directory with records: the room on its disk, and its file system.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .._backends.checkup import Checkup, Finding, Level

#: The least number of bytes that should be free.
LEAST: Final = 256 * 1024 * 1024
#: File systems whose locks and shared memory do not reach other machines.
REMOTE: Final = frozenset(
    {"9p", "afs", "ceph", "cifs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs", "virtiofs"}
)
_MOUNTS: Final = Path("/proc/self/mounts")


class DirectoryCheckup(Checkup):
    """The checks of a store that is nothing but a directory."""

    def __init__(self, directory: str | Path) -> None:
        self._directory = Path(directory)

    def findings(self) -> Iterator[Finding]:
        return findings(self._directory)


def findings(directory: Path) -> Iterator[Finding]:
    """Check the disk of *directory*, which exists."""
    import shutil  # noqa: PLC0415 - plugins import this module, and few of them call it

    free = shutil.disk_usage(directory).free
    if free < LEAST:
        what = f"{free:,} bytes are free in {directory}"
        yield Finding("disk", Level.WARNING, what, "make room, or let records expire sooner")
    kind = file_system(directory)
    if kind.removeprefix("fuse.") in REMOTE or kind == "fuse.sshfs":
        what = f"{directory} is on {kind}: locks may not reach other machines"
        remedy = "use a local directory, or a store with a server"
        yield Finding("file system", Level.WARNING, what, remedy)


def file_system(directory: Path) -> str:
    """Return the name of the file system of *directory*; "" where the system does not tell."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    mounts = (line.split(" ")[1:3] for line in lines)
    known = {place.replace("\\040", " "): kind for place, kind in mounts}
    resolved = directory.resolve()
    nearest = (known.get(str(parent)) for parent in (resolved, *resolved.parents))
    return next(filter(None, nearest), "")
