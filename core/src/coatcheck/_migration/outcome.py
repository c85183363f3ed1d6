"""
The outcome of a migration.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Migrated:
    """How many records and groups a migration met, by outcome."""

    #: Records that were copied, or would be.
    copied: int = 0
    #: Records whose task has one in the target already, which stays.
    there: int = 0
    #: Records that expired or were deleted meanwhile.
    gone: int = 0
    #: Records and groups that could not be copied.
    failed: int = 0
    #: Copies whose remaining life is unknown: they live for the target's `expires`.
    default_life: int = 0
    #: Groups that were copied, or would be.
    groups: int = 0
    #: Groups that the target has already.
    groups_there: int = 0
    #: Whether the source can list its groups; else none was copied.
    groups_listed: bool = True
    #: Records of the source that were found in the target at the end.
    verified: int = 0
    #: Records of the source that were not, with those that failed.
    missing: int = 0

    @property
    def seen(self) -> int:
        """How many records were looked at."""
        return self.copied + self.there + self.gone + self.failed

    @property
    def complete(self) -> bool:
        """Whether nothing failed, and nothing is missing."""
        return not self.failed and not self.missing
