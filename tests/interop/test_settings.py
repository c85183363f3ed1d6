"""
The settings of an application, as a real Celery takes them and as we do.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pluggy
import pytest
from support.real_celery import environ

import coatcheck
from coatcheck_redis.settings import Settings

SETTINGS = [
    {},
    {"result_expires": 60},
    {"result_expires": 0},
    {"result_expires": None},
    {"result_serializer": "msgpack", "accept_content": ["msgpack"]},
    {"accept_content": ["application/json", "application/x-msgpack"]},
    {"accept_content": ["json", "pickle"], "result_accept_content": ["json"]},
    {"result_backend_transport_options": {"global_keyprefix": "myapp"}},
    {"result_backend_transport_options": {"global_keyprefix": "myapp:"}},
]
CONTENT_TYPES = {
    "json": "application/json",
    "msgpack": "application/x-msgpack",
    "pickle": "application/x-python-serialize",
}


@pytest.mark.parametrize("settings", SETTINGS, ids=json.dumps)
def test_settings(celery, tmp_path_factory, settings):
    """Lifetime, serializer, what is accepted and keys are those of Celery's own backend."""
    directory = tmp_path_factory.getbasetemp()
    settings = {**settings, "result_backend": f"file://{directory}"}
    side = celery(**settings)
    theirs = side.ask("made")
    results = coatcheck.from_celery_config(settings)

    assert (theirs["expires"] or None) == results.expires
    assert theirs["serializer"] == results._codec.serializer.name
    # 5.4 put a "_" behind every prefix.
    ours = results._key_prefix
    old = ours.replace("myapp:", "myapp:_") if side.version < "5.5" else ours
    assert theirs["key_prefix"] == old
    if "accept_content" in settings:
        accept = sorted(CONTENT_TYPES[name] for name in results._codec.accept)
        assert theirs["accept"] == accept


READ = """
import json, sys
sys.path[:0] = {paths!r}
from celery import Celery
import coatcheck

app = Celery("app")
{code}
found = []
for config in (app, app.conf):
    results = coatcheck.from_celery_config(config)
    settings = results.backend.backend._settings
    found.append([results.expires, results._key_prefix, results._codec.accept,
                  settings.connection["host"], settings.connection.get("db"),
                  settings.connection["socket_timeout"] < 120, settings.max_connections])
print(json.dumps(found))
"""
WAYS = {
    "attributes": """
app.conf.result_backend = "redis://h/2"
app.conf.result_expires = 60
app.conf.redis_max_connections = 7
app.conf.result_backend_transport_options = {"global_keyprefix": "p"}
""",
    "old names": """
class Config:
    CELERY_RESULT_BACKEND = "redis://h/2"
    CELERY_TASK_RESULT_EXPIRES = 60
    CELERY_REDIS_MAX_CONNECTIONS = 7
    CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = {"global_keyprefix": "p"}
app.config_from_object(Config)
""",
    "a namespace": """
class Config:
    CELERY_RESULT_BACKEND = "redis://h/2"
    CELERY_RESULT_EXPIRES = 60
    CELERY_REDIS_MAX_CONNECTIONS = 7
    CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = {"global_keyprefix": "p"}
app.config_from_object(Config, namespace="CELERY")
""",
    "the environment": """
import os
os.environ["CELERY_RESULT_BACKEND"] = "redis://h/2"
app.conf.result_backend = "redis://other"
app.conf.result_expires = 60
app.conf.redis_max_connections = 7
app.conf.result_backend_transport_options = {"global_keyprefix": "p"}
""",
    "changed afterwards": """
app.config_from_object({"CELERY_RESULT_BACKEND": "redis://other", "CELERY_TASK_RESULT_EXPIRES": 60})
app.conf.result_backend = "redis://h/2"
app.conf.redis_max_connections = 7
app.conf.result_backend_transport_options = {"global_keyprefix": "p"}
""",
}


@pytest.mark.parametrize("way", WAYS)
def test_an_application(celery_python, tmp_path, way):
    """A real application, or its `conf`, can be given as it is, however it was configured."""
    source = Path(coatcheck.__file__).parents[1]
    plugin = Path(Settings.__init__.__code__.co_filename).parents[1]
    paths = [str(source), str(plugin)]
    # Core's dependencies, which Celery does not have. Its own environment comes first.
    dependencies = str(Path(pluggy.__file__).parents[1])
    register = f"sys.path.append({dependencies!r})\n"
    register += 'coatcheck.register("redis", "coatcheck_redis.sync:RedisBackend")\n'
    code = READ.format(paths=paths, code=register + WAYS[way])
    done = subprocess.run(
        [str(celery_python), "-W", "error::UserWarning:coatcheck", "-c", code],
        cwd=tmp_path,
        env=environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    expected = [60, "p_celery-task-meta-", ["json"], "h", 2, True, 7]
    assert [expected, expected] == json.loads(done.stdout)
