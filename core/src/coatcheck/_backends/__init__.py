"""
The backend protocol, and the workshop of those who write a backend.
"""
