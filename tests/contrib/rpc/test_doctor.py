"""
`coatcheck doctor` on a real broker.
"""

from __future__ import annotations

from support.doctor import diagnose
from support.processes import free_port
from support.rabbitmq import RabbitMQ


def test_a_sound_broker(rabbitmq: RabbitMQ) -> None:
    """
    On a broker only the process that reads the queue sees the records, which is the one fault.
    """
    found = diagnose(rabbitmq.url)

    assert {("sharing", "warning")} == found.faults
    assert "wakes its waiters" in found["notification"]
    assert "answers" in found["tcp"]


def test_login(rabbitmq: RabbitMQ) -> None:
    """
    A wrong password is found, and does not appear.
    """
    found = diagnose(rabbitmq.url.replace("//", "//guest:hunter2@").replace("guest:guest@", ""))

    assert {("login", "broken")} == found.faults
    assert "hunter2" not in str(found)


def test_nobody_listens() -> None:
    """
    A port where nobody listens ends the checks.
    """
    found = diagnose(f"rpc://127.0.0.1:{free_port()}")

    assert {("tcp", "broken")} == found.faults
    assert 1 == len(found.findings)
