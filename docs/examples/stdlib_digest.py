"""
Hash and compress every module of the running Python's standard library, on all cores.

A real computation of some seconds, to be watched and kept by `coatcheck run`:

    coatcheck run --id digest -- python docs/examples/stdlib_digest.py
    coatcheck get digest

Progress goes to stderr as "123/1500", the summary to stdout. Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import hashlib
import lzma
import os
import signal
import sys
import sysconfig
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple


class Digest(NamedTuple):
    """
    The outcome for one module. Sizes are in bytes.
    """

    sha256: str
    size: int
    zlib: int
    lzma: int


def modules() -> list[Path]:
    """
    Return the source files of the standard library, in an order that does not change.
    """
    root = Path(sysconfig.get_path("stdlib"))
    return sorted(
        path
        for path in root.rglob("*.py")
        if path.is_file()
        and not {"site-packages", "dist-packages"} & set(path.relative_to(root).parts)
    )


def digest(path: Path) -> Digest:
    """
    Hash and compress one file.
    """
    data = path.read_bytes()
    return Digest(
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        zlib=len(zlib.compress(data, 9)),
        lzma=len(lzma.compress(data)),
    )


def digest_all(paths: list[Path], processes: int) -> list[Digest]:
    """
    Digest *paths* in a pool of processes, and say how far it is.
    """
    digests = []
    # Ctrl-C reaches every process of a terminal; one of them is enough to end the others.
    ignore = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(processes, initializer=signal.signal, initargs=ignore) as pool:
        try:
            for done in pool.map(digest, paths, chunksize=4):
                digests.append(done)
                if len(digests) % 10 == 0 or len(digests) == len(paths):
                    print(f"{len(digests)}/{len(paths)}", end="\r", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    print(file=sys.stderr)
    return digests


def main() -> int:
    """
    Digest the standard library, or only its first files.
    """
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N files")
    parser.add_argument("--processes", type=int, metavar="N", default=os.cpu_count())
    options = parser.parse_args()
    start = time.monotonic()
    paths = modules()[: options.limit]
    try:
        digests = digest_all(paths, options.processes)
    except KeyboardInterrupt:
        return 130
    size = sum(d.size for d in digests)
    over_all = hashlib.sha256("".join(d.sha256 for d in digests).encode())
    print(
        f"{len(digests)} files, {size:,} bytes,",
        f"zlib {sum(d.zlib for d in digests) / max(size, 1):.1%},",
        f"lzma {sum(d.lzma for d in digests) / max(size, 1):.1%},",
        f"sha256 {over_all.hexdigest()[:16]},",
        f"{time.monotonic() - start:.1f} s",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
