"""
coatcheck results in Memcached.
"""

__version__ = "0.1.0"
