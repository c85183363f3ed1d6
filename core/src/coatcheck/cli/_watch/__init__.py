"""
The view of `coatcheck watch`: its rows, the threads that read them, and the screen.
"""
