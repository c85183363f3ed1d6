"""
How long the tests wait for answers that should come at once.
"""

from __future__ import annotations

import os
from typing import Final

#: How long anything may take that has no deadline of its own, in seconds; the environment may say
#: otherwise, for a machine that is slow or a backend that is known to hang.
PATIENCE: Final = float(os.environ.get("COATCHECK_TESTING_PATIENCE", "30"))
