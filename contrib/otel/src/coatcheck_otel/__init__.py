"""
OpenTelemetry for coatcheck: spans, metrics, and records that carry the trace context of their writer.

Installed, it is found by the entry point `otel` of the group `coatcheck.plugins` and uses the global providers.
"""

from .conventions import SCHEMA_URL
from .plugin import OpenTelemetry, plugin

__version__ = "0.2.0"

__all__ = ["SCHEMA_URL", "OpenTelemetry", "plugin"]
