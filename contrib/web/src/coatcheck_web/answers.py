"""
Answers for any record in a store.
"""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import JSONResponse


class JSONAnswer(JSONResponse):
    """JSON in ASCII: a lone surrogate in a value cannot be written as UTF-8."""

    def render(self, content: Any) -> bytes:
        """Return the bytes of *content*."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")
