"""
From a URL or a name to a backend.
"""
