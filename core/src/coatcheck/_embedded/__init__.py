"""
The backends that need no server.
"""
