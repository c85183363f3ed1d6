"""
What tests share: servers of their own, on free ports.
"""
