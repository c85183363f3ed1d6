"""
RabbitMQ brokers that tests start and stop.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pika
import psutil
import trustme
from pika import exceptions

from .processes import free_port, serve

CONFIG = """
listeners.tcp.1 = 127.0.0.1:{port}
listeners.ssl.1 = 127.0.0.1:{tls_port}
ssl_options.cacertfile = {directory}/ca.pem
ssl_options.certfile = {directory}/server.pem
ssl_options.keyfile = {directory}/server.key
loopback_users = none
disk_free_limit.absolute = 1MB
vm_memory_high_watermark.absolute = 1GB
log.file = false
log.console = true
log.console.level = warning
"""
#: One scheduler that sleeps when it has nothing to do: several brokers may share two CPUs.
ERLANG = "+S 1:1 +A 4 +sbwt none +sbwtdcpu none +sbwtdio none"


def program(name: str) -> str:
    """
    Return a program of the broker: Debian's wrapper lets only root run it.
    """
    debians = Path("/usr/lib/rabbitmq/bin", name)
    found = str(debians) if debians.exists() else shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed: apt-get install rabbitmq-server")
    return found


class RabbitMQ:
    """
    One broker, with a registry of Erlang nodes, a name and a directory of its own.
    """

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="coatcheck-rabbitmq-"))
        self.port = free_port()
        config = self.directory / "rabbitmq.conf"
        self.tls_port = free_port()
        config.write_text(
            CONFIG.format(port=self.port, tls_port=self.tls_port, directory=self.directory)
        )
        self._certify()
        (self.directory / "plugins").write_text("[].")
        self._environ = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.directory),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(free_port()),
            "RABBITMQ_NODENAME": f"coatcheck{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_PID_FILE": str(self.directory / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG,
        }
        self._process: subprocess.Popen[bytes] | None = None
        # The registry of names, which a broker would start as a daemon that outlives it.
        self._registry: subprocess.Popen[bytes] | None = None

    def _certify(self) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1")
        authority.cert_pem.write_to_path(self.directory / "ca.pem")
        issued.private_key_pem.write_to_path(self.directory / "server.key")
        for pem in issued.cert_chain_pems:
            pem.write_to_path(self.directory / "server.pem", append=True)

    @property
    def tls_url(self) -> str:
        return f"rpc+amqps://localhost:{self.tls_port}"

    @property
    def ca(self) -> str:
        """
        The certificate of who signed the broker's.
        """
        return str(self.directory / "ca.pem")

    @property
    def url(self) -> str:
        return f"rpc://127.0.0.1:{self.port}"

    @property
    def broker_url(self) -> str:
        """
        What Celery calls it.
        """
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def connection(self) -> pika.BlockingConnection:
        """
        Return a connection that is not coatcheck's.
        """
        return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", self.port))

    def publish(self, queue: str, body: bytes, **properties: Any) -> None:
        """
        Put a message into *queue*, as somebody else may.
        """
        with self.connection() as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            made = pika.BasicProperties(**properties)
            channel.basic_publish("", queue, body, made, mandatory=True)

    def control(self, *command: str) -> str:
        """
        Return the output of rabbitmqctl.
        """
        done = subprocess.run(
            [program("rabbitmqctl"), "-q", *command],
            env=self._environ, cwd=self.directory, check=True, capture_output=True, text=True,
            timeout=240,
        )  # fmt: skip
        return done.stdout

    def open_connections(self) -> int:
        """
        Return how many connections this process has to the broker.
        """
        mine = psutil.Process().net_connections("tcp")
        return sum(bool(c.raddr) and c.raddr.port == self.port for c in mine)

    def start(self) -> None:
        """
        Start it; durable things are there again.
        """
        with (self.directory / "server.log").open("ab") as log:
            if self._registry is None:
                self._registry = serve([program("epmd")], env=self._environ, stdout=log, stderr=log)
            self._process = serve(
                [program("rabbitmq-server")],
                env=self._environ, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 240
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
                self.connection().close()
                return
            except (exceptions.AMQPError, OSError):
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError((self.directory / "server.log").read_text()) from None
                time.sleep(0.1)

    def stop(self) -> None:
        """
        End the broker as it likes to be ended.
        """
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def kill(self) -> None:
        """
        End it and its children at once.
        """
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if self._registry is not None:
            self._registry.kill()
            self._registry.wait()
            self._registry = None
        shutil.rmtree(self.directory, ignore_errors=True)
