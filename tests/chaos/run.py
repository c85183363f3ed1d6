"""
The fault suite at length: `nox -s chaos -- --operations 100000 --stores redis,sqlite --json FILE`.

Exit status 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.chaos import STORES

from coatcheck.testing.chaos import Plan, Report, run

WIDTH = 30


def main() -> int:
    arguments = parsed()
    reports = []
    for name in arguments.stores:
        with tempfile.TemporaryDirectory(prefix="coatcheck-chaos-") as directory:
            with STORES[name](Path(directory)) as subject:
                plan = Plan(
                    operations=arguments.operations,
                    seconds=arguments.minutes * 60,
                    pause=(arguments.pause / 2, arguments.pause),
                    seed=arguments.seed,
                )
                report = run(subject, plan, progress=Bar(plan))
        reports.append(report.told())
        show(report)
        if arguments.json:
            arguments.json.write_text(json.dumps(reports, indent=1) + "\n")
    return int(any(report["violations"] for report in reports))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--stores", type=chosen, default=list(STORES), help=", ".join(STORES))
    parser.add_argument("--operations", type=float, help="end after so many, for each store")
    parser.add_argument("--minutes", type=float, help="or after so long, for each store")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between faults at most")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--json", type=Path, help="where the reports go")
    arguments = parser.parse_args()
    if arguments.operations is None and arguments.minutes is None:
        arguments.operations = 100_000
    arguments.operations = arguments.operations or float("inf")
    arguments.minutes = arguments.minutes or float("inf")
    return arguments


def chosen(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if unknown := set(names) - set(STORES):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return names


class Bar:
    """
    How far a run is, on one line of a terminal; nothing elsewhere.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __call__(self, report: Report) -> None:
        if not sys.stderr.isatty():
            return
        done = report.operations / self._plan.operations, report.seconds / self._plan.seconds
        full = round(WIDTH * min(max(done), 1.0))
        bar = "#" * full + "-" * (WIDTH - full)
        text = (
            f"\r{report.store:12} [{bar}] {report.operations} operations, {report.seconds:.0f} s, "
            f"{sum(report.faults.values())} faults, {len(report.violations)} violations "
        )
        sys.stderr.write(text)
        sys.stderr.flush()


def show(report: Report) -> None:
    """
    Print the essence of a report.
    """
    told = report.told()
    print(
        f"\n{report.store}: {report.operations} operations in {report.seconds:.0f} s, "
        f"{report.ids} ids, {report.winners} winners, {report.confirmed} confirmed, "
        f"{report.lost_with_the_store} lost with the store, {report.unanswered} unanswered"
    )
    print(f"  faults: {dict(report.faults)}")
    print(f"  errors: {dict(report.errors)}")
    print(f"  waits: {report.waits_served} served, {report.waits_timed_out} timed out")
    for name in ("threads_lateness", "tasks_lateness", "overruns", "machine"):
        print(f"  {name}: {told[name]}")
    print(f"  first, last: {report.samples[0]} {report.samples[-1]}")
    for violation in report.violations:
        print(f"  VIOLATION {violation}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
