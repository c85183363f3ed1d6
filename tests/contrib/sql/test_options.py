"""
The types of the options are those of the options.
"""

from support.options import own_options

from coatcheck_sql import SQLOptions


def test_each_option_has_a_type():
    """
    The error for an unknown option lists the options of the table and those of the store: all have types.
    """
    assert {*SQLOptions.__annotations__} == own_options("postgresql://h/db")
