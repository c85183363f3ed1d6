"""
The objects that users hold: results, handles, sets and running tasks.
"""
