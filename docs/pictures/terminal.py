"""
Draw a terminal in which coatcheck runs: real commands, real output, as SVG for light and dark pages.

    nox -s pictures

Needs POSIX, and pyte, which reads the escape sequences.
"""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import time
from html import escape
from pathlib import Path

import pyte

HERE = Path(__file__).absolute().parent
COLUMNS, ROWS = 84, 24
CHARACTER, LINE = 8.43, 19  # pixels
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

#: Four tasks of a shop: two are over, two go on while the commands run.
WORKER = """
import sys, time, coatcheck
def block(name, count, seconds, fail=False):
    with results.running(name, name=name, heartbeat=1) as task:
        for number in range(count):
            time.sleep(seconds / count)
            task.progress(number + 1, count)
        if fail:
            raise ConnectionError("mail.example.com refused the message")
        task.result = {"rows": 1204, "file": "orders.csv"}
with coatcheck.by_url() as results:
    try:
        block(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), fail=sys.argv[1] == "receipts")
    except ConnectionError:
        pass
"""
ENDED = [("export", "3", "1.2"), ("receipts", "2", "0.4")]
GOING_ON = [("thumbnails", "60", "9"), ("report", "12", "14")]
COMMANDS = ["coatcheck list", "coatcheck get export", "coatcheck wait thumbnails report"]
#: How long the last command runs before the picture is taken.
MOMENT = 3.5

STYLE = """
  .back { fill: #f6f8fa; stroke: #d0d7de } text { fill: #1f2328 } .dim { fill: #59636e }
  .red, .magenta { fill: #b3261e } .green { fill: #116329 } .blue { fill: #0550ae } .cyan { fill: #0550ae }
  .brown { fill: #7d4e00 } .brightred { fill: #bf3989 } .brightblack { fill: #c4cbd3 } .bold { font-weight: bold }
  @media (prefers-color-scheme: dark) {
    .back { fill: #161b22; stroke: #3d444d } text { fill: #e6edf3 } .dim { fill: #9198a1 }
    .red, .magenta { fill: #ff8a80 } .green { fill: #56d364 } .blue { fill: #79c0ff } .cyan { fill: #79c0ff }
    .brown { fill: #e3b341 } .brightred { fill: #f778ba } .brightblack { fill: #3d444d }
  }
"""


def start(name: str, count: str, seconds: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
    """
    Start a worker of one task.
    """
    return subprocess.Popen([sys.executable, "-c", WORKER, name, count, seconds], env=env)


def shown(command: str, screen: pyte.Screen, env: dict[str, str], seconds: float | None) -> None:
    """
    Run *command* in a terminal, to its end or for some *seconds*, and let *screen* take its output.
    """
    stream = pyte.ByteStream(screen)
    stream.feed(f"\x1b[2m$\x1b[0m \x1b[1m{command}\x1b[0m\r\n".encode())
    child, terminal = pty.fork()
    if child == 0:
        time.sleep(0.1)  # until the terminal has its size
        os.execvpe("coatcheck", command.split(), env)
    size = struct.pack("HHHH", ROWS, COLUMNS, 0, 0)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
    begun = time.monotonic()
    while seconds is None or time.monotonic() < begun + seconds:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # Linux says so that the other end is closed
            break
        stream.feed(data)
    os.kill(child, 9)
    os.waitpid(child, 0)
    stream.feed(b"\r\n")


def drawn(screen: pyte.Screen, title: str) -> str:
    """
    Return the screen as SVG.
    """
    lines = screen.display
    last = max(number for number, text in enumerate(lines) if text.strip())
    width, height = COLUMNS * CHARACTER + 32, (last + 1) * LINE + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="back" x=".5" y=".5" width="{width - 1:.0f}" height="{height - 1}" rx="9"/>',
        *(
            f'<circle cx="{20 + 18 * n}" cy="18" r="5.5" fill="{colour}"/>'
            for n, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
        ),
        f'<g font-family="{FONTS}" font-size="14" xml:space="preserve">',
    ]
    for row in range(last + 1):
        for column, text, style in runs(screen.buffer[row], len(lines[row].rstrip())):
            x, y = 16 + column * CHARACTER, 52 + row * LINE
            length = f'textLength="{len(text) * CHARACTER:.1f}"'
            parts.append(
                f'<text class="{style}" x="{x:.1f}" y="{y}" {length}>{escape(text)}</text>'
            )
    return "\n".join([*parts, "</g>", "</svg>", ""])


def runs(line: dict[int, pyte.screens.Char], length: int) -> list[tuple[int, str, str]]:
    """
    Return the parts of a line that look alike: column, text, classes.
    """
    found: list[tuple[int, str, str]] = []
    for column in range(length):
        character = line[column]
        named = character.fg if character.fg.isalpha() and character.fg != "default" else ""
        style = f"{named} {'bold' if character.bold else ''}".strip()
        if character.data == "$" and column == 0:
            style = "dim"
        if character.data == " ":
            continue
        if found and found[-1][2] == style and found[-1][0] + len(found[-1][1]) == column:
            found[-1] = (found[-1][0], found[-1][1] + character.data, style)
        else:
            found.append((column, character.data, style))
    return found


def main() -> None:
    """
    Run the commands and write the picture.
    """
    screen = pyte.Screen(COLUMNS, ROWS)
    with tempfile.TemporaryDirectory() as directory:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        url = f"sqlite:///{directory}/results.db"
        env = os.environ | {"COATCHECK_URL": url, "PATH": path, "TERM": "xterm"}
        env.pop("COLORTERM", None)  # the picture has names for 16 colours
        for task in ENDED:
            start(*task, env).wait()
        workers = [start(*task, env) for task in GOING_ON]
        time.sleep(1)
        for command in COMMANDS:
            last = command == COMMANDS[-1]
            shown(command, screen, env, MOMENT if last else None)
        for worker in workers:
            worker.wait()
    title = "Four tasks in a terminal: a list, a result, and two progress bars"
    (HERE / "terminal.svg").write_text(drawn(screen, title), encoding="utf-8")


if __name__ == "__main__":
    main()
