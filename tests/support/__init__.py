"""
Shared helpers of the tests: servers of their own, on free ports.
"""
