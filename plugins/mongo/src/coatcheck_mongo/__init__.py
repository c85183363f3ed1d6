"""
coatcheck results in MongoDB.
"""

__version__ = "0.1.0"
