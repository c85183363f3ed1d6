"""
The types of the options are those of the options.
"""

from support.options import own_options

from coatcheck_redis import RedisOptions


def test_each_option_has_a_type():
    """
    The error for an unknown option lists the options of the table and those of the store: all have types.
    """
    assert {*RedisOptions.__annotations__} == own_options("rediss+sentinel://h") - {
        "decode_responses",
        "protocol",
        "retry_on_timeout",
        "virtual_host",
    }
