"""
What the interpreter and the system may do to us: forks, signals, clocks, threads and event loops.
"""
