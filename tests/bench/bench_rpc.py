"""
What coatcheck costs on RabbitMQ, against pika and aio-pika doing the same by hand in the same run.

"By hand" is `json.dumps`, a mandatory message whose confirmation is waited for, and a consumer. See
docs/reference/benchmarks.md. Prints a table and JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import bench_mongo  # noqa: E402
import harness  # noqa: E402
import rpc_contenders as contenders  # noqa: E402
from bench_mongo import MANY, QUICK, Size  # noqa: E402
from harness import Row  # noqa: E402
from support.rabbitmq import RabbitMQ  # noqa: E402

PARTS = ("sync", "aio", "wake")


class Throughput(bench_mongo.Throughput):
    """
    Messages of both contenders, in turns: handed over to the broker, and there and back.
    """

    def rows(self) -> Iterator[Row]:
        size = self._size
        for who in self._made.values():
            reading = who.read()
            if self._runner is not None:
                self._runner.run(reading)
        for operation, what in (("store", "send"), ("trip", "there and back")):
            samples = self._samples(operation, size.rounds, size.operations, one_by_one=True)
            yield harness.speed(
                f"{self._label} {what}".strip(), samples, each=size.operations, target=0.9
            )
        samples = self._samples("store_many", size.batch_rounds, MANY, one_by_one=False)
        row = harness.speed(f"{self._label} send {MANY:,}".strip(), samples, each=MANY, target=0.0)
        row.target = None
        yield row


def measured(size: Size, parts: Sequence[str]) -> Iterator[Row]:
    """
    Iterate over the rows of *parts*.
    """
    with RabbitMQ() as server:
        for part, asynchronous in (("sync", False), ("aio", True)):
            if part in parts:
                made = Throughput(server, size, "", asynchronous=asynchronous, among=contenders)
                yield from made.rows()
                made.close()
        for asynchronous in (False, True):
            if "wake" in parts:
                yield from bench_mongo.wake_rows(
                    server, size, asynchronous=asynchronous, among=contenders, where=""
                )


def main() -> int:
    """
    Measure, by the command line.
    """
    options = harness.options_of(harness.parser_for("RabbitMQ", PARTS), PARTS)
    rows = measured(QUICK if options.quick else Size(), options.only)
    return harness.concluded(rows, options, about={"server": "RabbitMQ 3.10"})


if __name__ == "__main__":
    sys.exit(main())
