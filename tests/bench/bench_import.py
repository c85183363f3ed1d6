"""
What `import coatcheck` costs, and the first `by_url` of a plugin.

Measured in a fresh environment with compiled bytecode, every sample in a new process, the kinds
interleaved. The difference of the bests or that of the medians is held against the target, whichever
is less: noise only adds. Prints a table and JSON, and exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
MEMBERS = [ROOT / "core", ROOT / "plugins" / "redis"]
URL = "redis://localhost:1/0"

#: Timed from the start of the process to its end.
WHOLE = {
    "pass": "pass",
    "import": "import coatcheck",
    "import names": "from coatcheck import by_url",
    "import aio names": "from coatcheck.aio import by_url",
}

#: Timed within the process: what is imported before, and what is timed. The door is lazy, so a
#: first use also pays for importing the names. That is in "both"; it is left out where the names
#: are imported before, and with it what driver and core both need of the standard library.
SCAN_AND_DRIVER = """
from importlib_metadata import entry_points
entry_points()
import {driver}
"""
INSIDE = {
    "scan + driver": ("import sys", SCAN_AND_DRIVER.format(driver="redis")),
    "both": ("import sys", f"import coatcheck; coatcheck.by_url({URL!r})"),
    "scan + driver, names": (
        "from coatcheck import by_url",
        SCAN_AND_DRIVER.format(driver="redis"),
    ),
    "first by_url": ("from coatcheck import by_url", f"by_url({URL!r})"),
    "scan + driver, aio names": (
        "from coatcheck.aio import by_url",
        SCAN_AND_DRIVER.format(driver="redis.asyncio"),
    ),
    "first aio.by_url": ("from coatcheck.aio import by_url", f"by_url({URL!r})"),
}
TIMED = """
import time
{before}
start = time.perf_counter()
exec({code!r})
print(time.perf_counter() - start)
"""
#: What, measured less what, and the target in milliseconds.
TARGETS = [
    ("import", "pass", 30.0),
    ("first by_url", "scan + driver, names", 5.0),
    ("first aio.by_url", "scan + driver, aio names", 5.0),
    ("both", "scan + driver", 35.0),
]


def environ() -> dict[str, str]:
    """
    Return an environment without what changes how Python starts; the bytecode has to be kept.
    """
    unwanted = ("PYTHON", "COVERAGE", "VIRTUAL_ENV")
    return {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}


def made(path: Path) -> str:
    """
    Make an environment with the members, and return its Python.
    """
    python = str(path / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    compileall = [python, "-m", "compileall", "-qq", str(path / "lib")]
    subprocess.run([sys.executable, "-m", "venv", str(path)], check=True)
    subprocess.run([*pip, *map(str, MEMBERS)], check=True, env=environ())
    subprocess.run(compileall, check=False, env=environ())
    return python


def whole(python: str, code: str) -> float:
    """
    Return how long a process takes that runs *code*, in milliseconds.
    """
    start = time.perf_counter()
    subprocess.run([python, "-c", code], check=True, env=environ())
    return 1000 * (time.perf_counter() - start)


def inside(python: str, timed: tuple[str, str]) -> float:
    """
    Return how long the code of *timed* takes in a new process, in milliseconds.
    """
    before, code = timed
    command = [python, "-c", TIMED.format(before=before, code=code)]
    done = subprocess.run(command, check=True, env=environ(), capture_output=True)
    return 1000 * float(done.stdout)


def measured(python: str, rounds: int) -> dict[str, list[float]]:
    """
    Return the samples of each kind.
    """
    samples: dict[str, list[float]] = {name: [] for name in (*WHOLE, *INSIDE)}
    for number in range(rounds + 1):
        found = {name: whole(python, code) for name, code in WHOLE.items()}
        found |= {name: inside(python, timed) for name, timed in INSIDE.items()}
        for name, sample in found.items():
            if number:  # the first round fills the caches
                samples[name].append(sample)
    return samples


def report(samples: dict[str, list[float]]) -> dict[str, object]:
    """
    Print a table and return what it says.
    """
    print(f"{'ms':<26}{'best':>9}{'median':>9}")
    for name, values in samples.items():
        print(f"{name:<26}{min(values):>9.1f}{statistics.median(values):>9.1f}")
    print(f"\n{'':<46}{'best':>9}{'median':>9}{'target':>9}")
    targets = []
    for what, less, target in TARGETS:
        best = min(samples[what]) - min(samples[less])
        median = statistics.median(samples[what]) - statistics.median(samples[less])
        met = min(best, median) <= target
        print(
            f"{what + ' - ' + less:<46}{best:>9.1f}{median:>9.1f}{target:>9.1f} {'' if met else 'MISSED'}"
        )
        targets.append(
            {
                "what": what,
                "less": less,
                "best": best,
                "median": median,
                "target": target,
                "met": met,
            }
        )
    return {"python": sys.version.split()[0], "samples": samples, "targets": targets}


def main() -> int:
    """
    Measure, and say whether every target is met.
    """
    parser = argparse.ArgumentParser(description="What importing coatcheck costs.")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--json", type=Path, help="where the samples are written")
    options, _ = parser.parse_known_args()  # those of other benchmarks are not ours
    with tempfile.TemporaryDirectory() as directory:
        found = report(measured(made(Path(directory) / "venv"), options.rounds))
    print(json.dumps({key: value for key, value in found.items() if key != "samples"}))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0 if all(target["met"] for target in found["targets"]) else 1


if __name__ == "__main__":
    sys.exit(main())
