"""gunicorn's settings for the web workers. Threads, because streams are long; a time-out on every socket, because clients vanish."""

import contextlib
import ctypes
import os
import resource
import sys

from oxillama import parent_death, settings
from oxillama.errors import SettingsInvalid

try:
    _settings = settings.read(os.environ)
except SettingsInvalid as error:
    sys.exit(f"oxillama cannot start: {error}")

bind = _settings.bind
workers = _settings.workers
worker_class = "oxillama.web.worker.Worker"
# Open streams hold a thread each; requests always have threads of their own.
threads = _settings.threads + _settings.max_streams
# What is left above the threads may be idle kept-alive connections.
worker_connections = threads + 1000

# Whatever the umask of whoever starts it: nothing that comes to be here is for others.
os.umask(0o077)

# A stream holds a socket and a log, and the limit that processes begin with is often 1,024 descriptors.
_, _most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (_most_files, _most_files))
# Longer than clients keep idle connections, so that it is they who close.
keepalive = 75
graceful_timeout = 5
# The largest that gunicorn allows. Anything longer is answered in the API's envelope by our worker.
limit_request_line = 8190
# It would be a socket at a fixed path in the home directory, shared by all servers of one user.
control_socket_disable = True
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None
loglevel = "warning"
logger_class = "oxillama.web.gunicorn_log.GunicornLog"


def on_starting(arbiter):
    """In the master: check what the command line made of the address, and go when the process manager goes."""
    for address in arbiter.cfg.address:
        if isinstance(address, tuple):
            try:
                settings.check_bind(_settings, address[0])
            except SettingsInvalid as error:
                sys.exit(f"oxillama cannot start: {error}")
    parent_death.die_with_supervisor()


# glibc keeps what was freed, for each of many threads; with fixed thresholds large blocks go back to the system at once.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE_BLOCK_BYTES = 512 * 1024


def post_fork(_arbiter, worker):
    """In a worker: go when the master goes, however it went, and give memory back."""
    parent_death.die_with_parent(worker.ppid)
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES), (_M_TRIM_THRESHOLD, _LARGE_BLOCK_BYTES), (_M_ARENA_MAX, 2)):
            mallopt(option, value)


def post_worker_init(worker):
    """In a worker that has its application: watch the runners. No thread of it is to be there before the fork."""
    # Other applications are measured under the same settings.
    context = getattr(worker.wsgi, "extensions", {}).get("oxillama")
    if context is not None:
        context.caretaker.start()
