"""
Fuzz one decoder, guided by what of the code was reached: `python guided.py TARGET [-runs=N ...]`.
Without arguments the targets are listed.

Further arguments are libFuzzer's. What it finds is left in the working directory as `crash-...`,
and can be given as an argument in place of everything else, to see it again.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["coatcheck", "coatcheck_mongo", "coatcheck_sql"]):
    import targets
from watched import watched

#: In MB: twice what the largest thing that is inflated here could take, above what Python takes.
MEMORY = 600
#: In seconds, for one input.
PATIENCE = 20


def main() -> None:
    """
    Fuzz, and leave with the fuzzer's exit status.
    """
    if not sys.argv[1:]:
        print(*targets.TARGETS)
        return
    name, *arguments = sys.argv[1:]
    target = targets.TARGETS[name]
    beginning = targets.seeds()
    for seed in beginning:
        target(seed)  # imports what is imported when it is first used

    def one(data: bytes) -> None:
        with watched():
            target(data)

    with tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-") as corpus:
        for number, seed in enumerate(beginning):
            Path(corpus, f"seed-{number}").write_bytes(seed)
        limits = [f"-rss_limit_mb={MEMORY}", f"-timeout={PATIENCE}", "-max_len=4096"]
        atheris.Setup([sys.argv[0], *limits, *arguments, corpus], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
