"""
Protection from the interpreter and the system: forks, signals, clocks, threads and event loops.
"""
