"""
coatcheck as Celery's result backend: `result_backend = "coatcheck+redis://localhost:6379/1"`.
"""

from .backend import CoatcheckBackend

__version__ = "0.2.0"

__all__ = ["CoatcheckBackend"]
