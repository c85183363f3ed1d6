"""
The types of the options are those of the options.
"""

import pytest

import coatcheck
from coatcheck_redis import RedisOptions


def test_each_option_has_a_type():
    """
    The error for an unknown option lists the options of the table and those of the store: all have types.
    """
    with pytest.raises(coatcheck.ConfigurationError) as caught:
        coatcheck.by_url("rediss+sentinel://h", unheard_of=1)
    known = {*str(caught.value).partition("It has: ")[2].split(", ")}

    assert {*RedisOptions.__annotations__} == known - {*coatcheck.Options.__annotations__} - {
        "decode_responses",
        "protocol",
        "retry_on_timeout",
        "virtual_host",
    }
