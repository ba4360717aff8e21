"""Where plain Celery's tasks note their ends: known to those who write and to those who read."""

from typing import Final

ENDS: Final = "drill:ends"
"""A list in Redis: number of the request, `done` or `lost`, and the Unix time, in JSON."""
