"""
The checks of `coatcheck doctor` that hold for every store.
"""
