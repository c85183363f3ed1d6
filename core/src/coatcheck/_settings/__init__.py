"""
Settings: URLs and their options, configuration files, Celery's settings.
"""
