"""Disk: the one seam through which everything that is written to the data directory passes.

Each method is one step that a crash can fall before or behind. Errors of the operating system leave as errors of the store, except
FileNotFoundError: that something is gone is for the caller to judge.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import shutil
from collections.abc import Iterator
from types import TracebackType

from oxillama.errors import StoreError, StoreFull, StoreUnavailable

DIRECTORY_MODE, FILE_MODE = 0o700, 0o600

_USUAL_BYTES, _MORE_BYTES = 32 * 1024, 256 * 1024

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Disk:
    """File operations below one data directory.

    Args:
        temporary: an existing directory on the same file system, for files that are not in place yet.
        durable: whether to wait until the device has what was written. When False, what is written survives the death of any
            process, and not a power cut.
    """

    def __init__(self, temporary: str, durable: bool) -> None:
        self.temporary, self.durable = temporary, durable
        self._counter = itertools.count()

    def read(self, path: str, most: int | None = None) -> bytes:
        """A whole file. FileNotFoundError when there is none, or when something on the way is not a directory.

        Args:
            path: of the file.
            most: of one that has more bytes than this, some more than these are read.
        """
        with naming(path):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                content = os.read(fd, _USUAL_BYTES)
                # A read of a regular file is short only at its end, and most files end here.
                if len(content) == _USUAL_BYTES:
                    pieces, size = [content], len(content)
                    while (most is None or size <= most) and (piece := os.read(fd, _MORE_BYTES)):
                        pieces.append(piece)
                        size += len(piece)
                    content = b"".join(pieces)
                return content
            finally:
                os.close(fd)

    def read_beginning(self, path: str, count: int) -> bytes:
        """The first bytes of a file, `count` of them at the most. FileNotFoundError as for `read`."""
        with naming(path):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.read(fd, count)
            finally:
                os.close(fd)

    def exists(self, path: str) -> bool:
        """Whether there is a file or directory. What may not be looked at is an error, not something that does not exist."""
        with naming(path):
            try:
                os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                return False
        return True

    def read_at(self, fd: int, length: int, position: int) -> bytes:
        """A piece of an open file: shorter than asked for at its end."""
        with naming(fd):
            return os.pread(fd, length, position)

    @contextlib.contextmanager
    def opened(self, path: str) -> Iterator[int]:
        """A descriptor to read a file from. FileNotFoundError when there is none."""
        with naming(path):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    def size(self, fd: int) -> int:
        """Bytes in an open file."""
        with naming(fd):
            return os.fstat(fd).st_size

    def names(self, path: str) -> list[str]:
        """The names in a directory, in no order; none when it does not exist. Raises what `require_place` raises."""
        try:
            with naming(path):
                return os.listdir(path)
        except FileNotFoundError:
            self.require_place()
            return []

    def require_place(self) -> None:
        """Raise StoreUnavailable when the data directory is not where it was: moved away, or what it was on is not mounted any more."""
        if not self.exists(self.temporary):
            raise StoreUnavailable(os.path.dirname(self.temporary), "the data directory is not there")

    def create(self, path: str, content: bytes, *, synced: bool = True) -> None:
        """Write a new file where nobody looks yet, and wait for the device if `synced`. Its name is not synced."""
        with naming(path):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        try:
            self.write(fd, content)
            if synced:
                self.sync(fd)
        finally:
            os.close(fd)

    def replace(self, path: str, content: bytes, *, synced: bool = True) -> bytes:
        """Put a file in place, so that every reader sees the old one or the new one, whole. Gives the content back. Unsynced: for hints.

        Raises:
            StoreFull, StoreUnavailable: the old one is still there; or the new one, if all that failed was the sync of its name.
        """
        temporary = self.temporary_path()
        with self.syncing_names(os.path.dirname(path)) if synced else contextlib.nullcontext(), naming(path):
            try:
                self.create(temporary, content, synced=synced)
                os.rename(temporary, path)
            except BaseException as error:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                if isinstance(error, StoreError):
                    # Named by what it was to become: the name of a temporary file tells nobody anything.
                    raise type(error)(path, error.reason) from error
                raise
        return content

    def touch(self, path: str) -> None:
        """Create an empty file, or leave the one that is there. Never synced: for hints only."""
        with naming(path):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE))

    def unlink(self, path: str) -> bool:
        """Remove a file. False when it was not there: of several that try, exactly one gets True."""
        try:
            with naming(path):
                os.unlink(path)
        except FileNotFoundError:
            return False
        return True

    def remove_tree(self, path: str) -> None:
        """Remove a directory and all that is in it, as far as that can be done. Never synced: for what nobody looks at any more."""
        shutil.rmtree(path, ignore_errors=True)

    def make_directory(self, path: str) -> None:
        """Create a directory that is not there yet; leaves an existing one as it is. The name itself is not synced."""
        with naming(path), contextlib.suppress(FileExistsError):
            os.mkdir(path, DIRECTORY_MODE)

    def add_directory(self, path: str) -> None:
        """Make sure of a directory in one that is there already; its name is synced. One that holds nothing may be as a killed process
        left it, before the sync of its name."""
        if not self._holds_something(path):
            self.make_directory(path)
            self.sync_directory(os.path.dirname(path))

    def _holds_something(self, path: str) -> bool:
        with naming(path):
            try:
                with os.scandir(path) as entries:
                    return next(entries, None) is not None
            except FileNotFoundError:
                return False

    def rename(self, source: str, target: str) -> None:
        """Move a file or directory to a new name; the name is synced."""
        with self.syncing_names(os.path.dirname(target)), naming(target):
            os.rename(source, target)

    @contextlib.contextmanager
    def building(self, path: str) -> Iterator[str]:
        """A new directory that nobody sees, to be filled in the block. Then it becomes `path`, names and all; or nothing does.

        Raises:
            StoreFull, StoreUnavailable: it is gone; or in place, if all that failed was the last sync.
        """
        building = self.temporary_path()
        try:
            self.make_directory(building)
            yield building
            self.sync_directory(building)
            self.rename(building, path)
        except BaseException:
            # A full disk needs the space.
            self.remove_tree(building)
            raise

    def open(self, path: str, flags: int) -> int:
        """A descriptor. The caller closes it. A symbolic link is not followed: nothing is appended to what lies elsewhere."""
        with naming(path):
            return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)

    def open_if_there(self, path: str) -> int | None:
        """A descriptor to read from, or None. The caller closes it."""
        with naming(path):
            try:
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except (FileNotFoundError, NotADirectoryError):
                return None

    def write(self, fd: int, content: bytes) -> None:
        """Write all of it. One system call unless the disk is nearly full."""
        with naming(fd):
            written, rest = os.write(fd, content), memoryview(content)
            while written < len(rest):
                rest = rest[written:]
                written = os.write(fd, rest)

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file to `size` bytes."""
        with naming(fd):
            os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        """Wait until a file's content is on the device."""
        if self.durable:
            with naming(fd):
                try:
                    os.fdatasync(fd)
                except OSError:
                    # What memory still holds may not be on the device, and nobody will be told again: whoever looks next must look there.
                    with contextlib.suppress(OSError):
                        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                    raise

    def sync_directory(self, path: str, opened: int | None = None) -> None:
        """Wait until the names in a directory are on the device. It is opened for that, unless it is `opened` already."""
        if not self.durable:
            return
        fd = self._open_directory(path) if opened is None else opened
        try:
            with naming(path):
                os.fsync(fd)
        finally:
            if opened is None:
                os.close(fd)

    @contextlib.contextmanager
    def syncing_names(self, path: str) -> Iterator[None]:
        """Sync the names in a directory after the block, which changes some. It is opened before: nothing is changed when that fails."""
        opened = self._open_directory(path) if self.durable else None
        try:
            yield
            self.sync_directory(path, opened)
        finally:
            if opened is not None:
                os.close(opened)

    def _open_directory(self, path: str) -> int:
        with naming(path):
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def temporary_path(self) -> str:
        """A name that nobody else uses, for something that is not in place yet."""
        return os.path.join(self.temporary, f"{os.getpid()}-{random.getrandbits(32):08x}-{next(self._counter)}")


class naming:
    """Turn errors of the operating system into errors of the store that name the file, given by its path or an open descriptor."""

    __slots__ = ("_path",)

    def __init__(self, path: str | int) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if error is None or not isinstance(error, OSError) or isinstance(error, (FileExistsError, BlockingIOError)):
            return
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise FileNotFoundError(self._path) from None
        kind_of_ours = StoreFull if error.errno in _FULL else StoreUnavailable
        raise kind_of_ours(_named(self._path), error.strerror or type(error).__name__) from error


def _named(path: str | int) -> str:
    with contextlib.suppress(OSError):
        return path if isinstance(path, str) else os.readlink(f"/proc/self/fd/{path}")
    return f"descriptor {path}"
