"""
The document of one task, its snapshot, its failure, and groups of tasks.
"""
