"""Finds network disks, where SQLite must not write. In: a folder. Out: the disk in words, or None.

SQLite serialises writers by locks on byte ranges of its file, and trusts that a write is seen by whoever reads next
(https://www.sqlite.org/howtocorrupt.html, 2.1). Network file systems keep neither promise reliably.
"""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")  # of Linux; elsewhere nothing is known, and nothing is refused
# Types as the kernel names them. Several machines may write to one such disk: their locks are advisory, a mount option,
# or a lease that a slow network lets lapse.
NETWORK = frozenset(
    [
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "coda", "ncpfs"),  # servers of files
        *("lustre", "gpfs", "beegfs", "ceph", "glusterfs", "pvfs2", "orangefs", "panfs", "wekafs"),  # of clusters
        *("vboxsf", "vmhgfs", "drvfs"),  # a host's folder in a virtual machine, by a server without byte-range locks
    ]
)
# FUSE gives the program's name; those not named here (overlays of rootless containers, encryption) lie on a local disk.
NETWORK_PROGRAMS = frozenset(
    [
        *("sshfs", "davfs", "davfs2", "curlftpfs", "smbnetfs", "vmhgfs-fuse", "cvmfs2"),
        *(
            "glusterfs",
            "ceph",
            "ceph-fuse",
            "beegfs",
            "juicefs",
            "alluxio-fuse",
            "mfs",
            "lizardfs",
            "seaweedfs",
            "hdfs",
        ),
        *("rclone", "s3fs", "goofys", "geesefs", "mount-s3", "mountpoint-s3", "gcsfuse", "blobfuse", "blobfuse2"),
    ]
)
# Not in the lists: overlay, the root of most containers; virtiofs and 9p, the root of others and a host's folder in
# their virtual machine. All processes that share the file are in there, and the kernel there keeps their locks.


def network_disk(folder: Path) -> str | None:
    """The network disk of `folder` (which need not exist yet), such as "nfs4, mounted at /home", or None."""
    if not MOUNTS.is_file():
        return None
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())  # looking also mounts, by autofs
    point, kind = mount_of(existing.resolve(), MOUNTS.read_text(errors="surrogateescape"))
    return f"{kind}, mounted at {point}" if is_network(kind) else None


def mount_of(folder: Path, table: str) -> tuple[str, str]:
    """The mount point and the type of the file system of `folder`.

    Args:
        folder: absolute, without links.
        table: as in /proc/self/mountinfo (man 5 proc), in order of mounting: of two at one place the later one counts.
    """
    found = ("/", "unknown")
    for line in table.splitlines():
        place, _, source = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), place.split()[4])
        if folder.is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, source.split()[0])
    return found


def is_network(kind: str) -> bool:
    """True if the type, such as "nfs4" or "fuse.sshfs", is that of a network disk."""
    program = kind.removeprefix("fuse.")
    return kind in NETWORK or (program != kind and program in NETWORK_PROGRAMS)
