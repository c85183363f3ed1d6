"""
Tasks over HTTP: their status, long polling, and their events as a stream.

`gateway(results)` is an ASGI application to mount; `coatcheck serve` runs it. `accepted` is the answer of an
application's own route that started a task.
"""

from .gateway import gateway
from .tasks import accepted

__version__ = "0.2.0"

__all__ = ["accepted", "gateway"]
