"""
Copies of the records of one store in another.
"""
