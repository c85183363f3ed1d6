"""
The types of the options are those of the options.
"""

from coatcheck_mongo import MongoOptions, settings


def test_each_option_has_a_type():
    """
    Each option that is not the driver's has a type.
    """
    assert {*MongoOptions.__annotations__} == {*settings._OPTIONS}
