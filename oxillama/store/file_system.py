"""Which file system a data directory is on. Locks and renames hold among processes of one machine; a network file system breaks both."""

from __future__ import annotations

from oxillama.errors import StoreUnavailable

_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.glusterfs", "fuse.sshfs", "lustre"})


def refuse_network_file_system(path: str) -> None:
    """Raise StoreUnavailable when `path` is known to lie on a network file system."""
    kind = _kind_of(path)
    if kind in _NETWORK:
        raise StoreUnavailable(path, f"on a network file system ({kind}); file locks do not hold there, so use a local disk")


def _kind_of(path: str) -> str | None:
    """The type of the file system that holds an absolute path, from the kernel's mount table; None where there is no such table."""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as table:
            mounts = [line.split(" ")[1:3] for line in table]
    except OSError:
        return None
    holding = [(point, kind) for point, kind in mounts if path == point or path.startswith(point.rstrip("/") + "/")]
    return max(holding, key=lambda mount: len(mount[0]))[1] if holding else None
