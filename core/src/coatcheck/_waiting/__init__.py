"""
Waits: when to look, and the hub that looks for everybody.
"""
