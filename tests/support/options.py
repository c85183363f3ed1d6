"""
The options of a store, as its error for an unknown one lists them.
"""

from __future__ import annotations

import pytest

import coatcheck


def own_options(url: str) -> set[str]:
    """Return the options that the store of *url* has besides those of all stores."""
    with pytest.raises(coatcheck.ConfigurationError) as caught:
        coatcheck.by_url(url, unheard_of=1)
    listed = str(caught.value).partition("It has: ")[2].split(", ")
    return {*listed} - {*coatcheck.Options.__annotations__}
