"""
The Python of each page runs, from its first block to its last, with a store that needs no server.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.rabbitmq import RabbitMQ

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
BLOCK = re.compile(r"^( *)```python\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
#: Pages whose Python others run, and who they are.
ELSEWHERE = {
    "README.md": "test_pages.py",
    "docs/index.md": "test_pages.py",
    "docs/tutorial/first-result.md": "test_pages.py",
    "docs/how-to/write-a-backend.md": "tests/core/testing/test_page.py",
}
#: Pages whose Python needs a broker.
WITH_BROKER = ["contrib/rpc/README.md", "docs/how-to/rabbitmq.md"]
PAGES = [
    name
    for page in sorted([*ROOT.glob("*/*/README.md"), *ROOT.glob("docs/**/*.md")])
    if "```python\n" in page.read_text(encoding="utf-8")
    and (name := page.relative_to(ROOT).as_posix()) not in [*ELSEWHERE, *WITH_BROKER]
]

RESULTS = "results = coatcheck.by_url('memory://tests')\n"
CELERY = (
    "from celery import Celery\napp = Celery('shop', backend='file:///tmp', set_as_current=False)\n"
)
#: Starlette warns of the client that its own tests use.
WARNINGS = ["-W", "error", "-W", "ignore:Using `httpx`"]
#: What a page takes for granted: the reader's own application.
BEFORE = {
    "docs/explanation/waiting.md": RESULTS,
    "docs/how-to/celery-backend.md": CELERY,
    "contrib/celery/README.md": CELERY,
    "docs/how-to/celery.md": CELERY
    + """
import types
app.conf.result_backend = f"file://{os.getcwd()}/records"
os.mkdir("records")
sys.modules["shop"], sys.modules["shop.celery"] = types.ModuleType("shop"), types.ModuleType("shop.celery")
sys.modules["shop.celery"].app = app
sys.modules["shop.celeryconfig"] = types.ModuleType("shop.celeryconfig")
sys.modules["shop.celeryconfig"].result_backend = app.conf.result_backend
from django.conf import settings
settings.configure(CELERY_RESULT_BACKEND=app.conf.result_backend)
task_id, group_id, ids = "t1", "g1", ["a", "b"]
with coatcheck.from_celery_config(app.conf) as ours:
    ours.store_many({"a": 1, "b": 2})
    ours.mark_as_failure("c", ValueError("no paper"))
    ours.save_group(group_id, ids)
""",
    "docs/how-to/django.md": """
sys.path.insert(0, EXAMPLES)
from django.conf import settings
settings.configure(ROOT_URLCONF="django_views", COATCHECK_URL="memory://tests")
from django_views import results
""",
    "docs/how-to/fastapi.md": "sys.path.insert(0, EXAMPLES)\n",
    "docs/how-to/migrate.md": CELERY
    + RESULTS
    + """
class Queue:
    id = "job"
    def enqueue(self, function, *arguments, result_ttl):
        results.store_result("job", function(*arguments))
        return self
queue = Queue()
from taskiq import InMemoryBroker
count_words = lambda text: len(text.split())
ListQueueBroker = lambda url: InMemoryBroker()
""",
    "docs/how-to/notebooks.md": """
with coatcheck.by_url("sqlite:///results.db") as before:
    before.store_result("training-7", 0.97)
compute_features = lambda: [1, 2]
""",
    "docs/how-to/seal-records.md": """
import secrets
os.environ["RESULT_KEYS"] = "2026-11:" + secrets.token_urlsafe(32)
with open("result-keys", "w") as file:
    file.write(os.environ["RESULT_KEYS"])
url = "memory://tests"
""",
    "docs/how-to/rq.md": RESULTS
    + """
class Queue:
    id = "job"
    def enqueue(self, function, *arguments, result_ttl):
        results.store_result("job", function(*arguments))
        return self
queue = Queue()
count_words = lambda text: len(text.split())
""",
    "docs/how-to/rabbitmq.md": """
import logging, threading
import coatcheck_rpc
from celery import Celery
from celery.contrib.testing.worker import start_worker
app = Celery("page", broker=BROKER, backend="rpc://", set_as_current=False)
@app.task(name="tasks.add")
def add(x, y):
    return x + y
worker = start_worker(app, pool="solo", perform_ping_check=False)
worker.__enter__()
task_id, work = "t1", lambda: 1
def send_to_worker(task_id, queue):
    def answer():
        with coatcheck.by_url(URL, reply_to=queue) as replies:
            replies.store_result(task_id, 5)
    threading.Thread(target=answer).start()
""",
}
#: Runs a page as a notebook would: `await` may stand outside a function.
RUN = """
import ast, asyncio, inspect, os, sys, types
import coatcheck
with open("page.py", encoding="utf-8") as file:
    source = file.read()
code = compile(source, "page.py", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
page = sys.modules["page"] = types.ModuleType("page")
page.coatcheck, page.os, page.sys = coatcheck, os, sys
page.EXAMPLES, page.URL, page.BROKER = {examples!r}, os.environ["COATCHECK_URL"], os.environ["BROKER"]
if code.co_flags & inspect.CO_COROUTINE:
    asyncio.run(types.FunctionType(code, vars(page))())
else:
    exec(code, vars(page))
sys.stdout.flush()
os._exit(0)  # without a wait for what a page leaves open
"""


def run(name: str, directory: Path, *options: str, url: str = "", broker: str = "") -> str:
    """Run the Python of a page after what it takes for granted; return its output."""
    page = (ROOT / name).read_text(encoding="utf-8")
    for file, text in re.findall(r"^```toml\n# (\S+)\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        (directory / file).write_text(text, encoding="utf-8")
    source = "\n\n".join([BEFORE.get(name, ""), *blocks_of(page)])
    source = source.replace("/run/secrets/result-keys", f"{directory}/result-keys")
    source = source.replace("rpc://user:password@localhost:5672/vhost", url)
    (directory / "page.py").write_text(source, encoding="utf-8")
    program = RUN.format(examples=str(EXAMPLES / "frameworks"))
    url = url or f"sqlite:///{directory}/results.db"
    ended = subprocess.run(
        [sys.executable, *options, "-c", program],
        cwd=directory, check=False, capture_output=True, text=True, timeout=60,
        env={**os.environ, "COATCHECK_URL": url, "BROKER": broker},
    )  # fmt: skip

    assert 0 == ended.returncode, ended.stderr
    return ended.stdout


def blocks_of(page: str) -> list[str]:
    """Return the blocks of Python in the text of a page."""
    return [
        re.sub(f"^{indent}", "", code, flags=re.MULTILINE) for indent, code in BLOCK.findall(page)
    ]


@pytest.mark.parametrize("name", PAGES)
def test_the_python_of_a_page_runs(name, tmp_path):
    """Each block runs after those before it, and `print(...)  # text` prints the text."""
    printed = run(name, tmp_path, *WARNINGS).splitlines()
    page = "\n".join(blocks_of((ROOT / name).read_text(encoding="utf-8")))
    expected = re.findall(r"^ *print\(.*\)  # (.*)$", page, re.MULTILINE)

    assert [] == [said for said in expected if said not in printed]


@pytest.fixture(scope="module")
def broker():
    with RabbitMQ() as server:
        yield server


@pytest.mark.parametrize("name", WITH_BROKER)
def test_the_python_of_a_page_runs_with_a_broker(name, tmp_path, broker):
    """The same, with a worker of Celery where the page has one."""
    run(name, tmp_path, url=broker.url, broker=broker.broker_url)


def test_the_pages_that_run_elsewhere_are_there():
    """Nobody excuses a page that has no Python."""
    assert [] == [name for name in ELSEWHERE if "```python\n" not in (ROOT / name).read_text()]
