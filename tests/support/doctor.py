"""
`coatcheck doctor` in this process, and its findings.
"""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

from coatcheck.cli import main


@dataclass
class Diagnosis:
    """The exit status, and the findings of all levels."""

    status: int
    findings: list[dict[str, Any]]

    @property
    def faults(self) -> set[tuple[str, str]]:
        """
        The checks that found a fault, each with its level. The status is that of the worst.
        """
        bad = [one for one in self.findings if one["level"] in ("warning", "broken")]
        assert all(one["remedy"] for one in bad)
        worst = max(("sound", "warning", "broken").index(one["level"]) for one in bad) if bad else 0
        assert worst == self.status
        return {(one["check"], one["level"]) for one in bad}

    def __getitem__(self, check: str) -> str:
        """
        Return the findings of one check, and the remedies.
        """
        of_it = [one for one in self.findings if one["check"] == check]
        assert of_it, self.findings
        return "; ".join(f"{one['level']}: {one['what']} -> {one['remedy']}" for one in of_it)


def diagnose(*arguments: str) -> Diagnosis:
    """
    Run the doctor with these arguments.
    """
    with redirect_stdout(io.StringIO()) as output:
        status = main(["doctor", *arguments, "--json"])
    return Diagnosis(status, json.loads(output.getvalue())["findings"])
