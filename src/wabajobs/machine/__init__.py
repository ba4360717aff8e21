"""One machine: what `wabajobs up` and `wabajobs demo` need to run everything here, without root or Docker."""

from wabajobs.machine.ports import free_port, is_listened_on, require_free
from wabajobs.machine.processes import FolderLock
from wabajobs.machine.redis_server import RedisServer, ServerBinary, find_server
from wabajobs.machine.supervisor import Event, Happened, Service, Supervisor

__all__ = [
    "Event",
    "FolderLock",
    "Happened",
    "RedisServer",
    "ServerBinary",
    "Service",
    "Supervisor",
    "find_server",
    "free_port",
    "is_listened_on",
    "require_free",
]
