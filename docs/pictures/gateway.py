"""
Take a picture of the gateway's page while tasks run, by a Chromium without a window.

    nox -s pictures

Needs Chromium: apt-get install chromium.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import coatcheck

HERE = Path(__file__).parent
CHROMIUM = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
SIZE = "--window-size=900,620"


def fill(results: coatcheck.Results) -> None:
    """Store what a shop leaves on a morning."""
    for number in range(31):
        results.store_result(f"order-{number:04}", {"paid": True}, name="orders.pay", worker="w1")
    for number in range(3):
        error = ConnectionError("mail.example.com refused the message")
        results.mark_as_failure(f"receipt-{number:04}", error, name="receipts.send", worker="w2")
    for number, name in enumerate(("thumbnails", "report")):
        task = results.running(name, name=f"{name}.make", worker="w2")
        task.__enter__()
        task.progress(10 * (number + 1), 60)


def serve(directory: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start the gateway; return it and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "coatcheck", "serve", "--port", port]
    environment = os.environ | {"COATCHECK_URL": "sqlite:///shop.db"}
    server = subprocess.Popen(command, cwd=directory, env=environment)
    address = f"http://127.0.0.1:{port}/"
    for _ in range(100):
        try:
            urllib.request.urlopen(address).close()
            break
        except urllib.error.URLError:
            time.sleep(0.1)
    return server, address


def main() -> None:
    """Draw gateway.png."""
    with (
        tempfile.TemporaryDirectory() as directory,
        coatcheck.by_url(f"sqlite:///{directory}/shop.db") as results,
    ):
        fill(results)
        server, address = serve(directory)
        picture = f"--screenshot={HERE / 'gateway.png'}"
        profile = f"--user-data-dir={directory}/profile"
        subprocess.run([*CHROMIUM, SIZE, picture, profile, address], check=True)
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
