"""
What users hold: results, handles, sets and running tasks.
"""
