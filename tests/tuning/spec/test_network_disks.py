"""The disk of a folder is found, and SQLite is kept off network disks before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.specs import GOOD
from tuning.spec.loading import load_spec
from tuning.spec.mistakes import SpecError
from tuning.spec.validation import network_disks
from tuning.spec.validation.network_disks import is_network, mount_of, network_disk

pytestmark = pytest.mark.unit

TABLE = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
30 27 0:30 / /home rw,relatime shared:2 master:3 - nfs4 files:/home rw,vers=4.2
31 30 0:31 / /home/me/scratch rw - xfs /dev/nvme0n1 rw
32 27 0:32 / /homes rw - ext4 /dev/vdb rw
33 27 0:33 / /mnt/two\040words rw - fuse.sshfs me@host: rw
34 27 0:34 / /auto rw - autofs systemd-1 rw
35 34 0:35 / /auto rw - cifs //server/share rw
""".strip()


@pytest.mark.parametrize(
    ("folder", "point", "kind"),
    [
        ("/var/runs", "/", "ext4"),
        ("/home/me/runs", "/home", "nfs4"),
        ("/home/me/scratch/runs", "/home/me/scratch", "xfs"),
        ("/homes/me", "/homes", "ext4"),  # begins like /home and is another disk
        ("/mnt/two words/runs", "/mnt/two words", "fuse.sshfs"),
        ("/auto/runs", "/auto", "cifs"),  # mounted over the place that waited for it
    ],
)
def test_the_innermost_and_latest_mount_counts(folder: str, point: str, kind: str) -> None:
    assert mount_of(Path(folder), TABLE) == (point, kind)


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs", "fuse.gcsfuse"]
)
def test_network_disks_are_known(kind: str) -> None:
    assert is_network(kind)


@pytest.mark.parametrize(
    "kind",
    ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "virtiofs", "9p", "fuseblk", "fuse.fuse-overlayfs", "fuse"],
)
def test_local_disks_and_the_roots_of_containers_are_none(kind: str) -> None:
    assert not is_network(kind)


def test_the_memory_disk_and_the_temporary_folder_of_this_machine_are_local(tmp_path: Path) -> None:
    assert network_disk(Path("/dev/shm/not/there/yet")) is None
    assert network_disk(tmp_path) is None


def test_a_link_counts_as_where_it_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served, link = tmp_path / "served", tmp_path / "link"
    served.mkdir()
    link.symlink_to(served)
    table = tmp_path / "mountinfo"
    table.write_text(f"27 1 254:0 / / rw - ext4 /dev/vda rw\n28 27 0:9 / {served.resolve()} rw - nfs4 files:/x rw\n")
    monkeypatch.setattr(network_disks, "MOUNTS", table)
    assert network_disk(link / "runs") == f"nfs4, mounted at {served.resolve()}"
    assert network_disk(tmp_path) is None


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the table of mounts says is served over NFS."""
    folder = tmp_path / "served"
    folder.mkdir()
    table = tmp_path / "mountinfo"
    table.write_text(f"27 1 254:0 / / rw - ext4 /dev/vda rw\n28 27 0:9 / {folder.resolve()} rw - nfs4 files:/x rw\n")
    monkeypatch.setattr(network_disks, "MOUNTS", table)
    monkeypatch.delenv("TUNEFLEET_STORE", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return folder


def test_a_run_folder_on_a_network_disk_needs_its_store_elsewhere(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SpecError) as message:
        load_spec(GOOD, [f"cluster.storage={served}"])
    (mistake,) = map(str, message.value.mistakes)
    assert mistake.startswith("cluster.storage: ")
    assert f"the study store in {served}/mine lies on a network disk (nfs4, mounted at {served})" in mistake
    assert "store=sqlite:////" in mistake
    assert "TUNEFLEET_STORE=postgresql://" in mistake
    assert load_spec(GOOD, [f"cluster.storage={served}", f"store=sqlite:///{tmp_path}/studies.db"])
    assert load_spec(GOOD, [f"cluster.storage={served}", "store=postgresql://host/studies"])
    monkeypatch.setenv("TUNEFLEET_STORE", "postgresql://host/studies")
    assert load_spec(GOOD, [f"cluster.storage={served}"])


def test_a_store_that_is_named_on_a_network_disk_is_refused_by_its_name(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{served}/studies.db"
    with pytest.raises(SpecError, match=r"\n  store: 'sqlite:///.*it lies on a network disk \(nfs4"):
        load_spec(GOOD, [f"cluster.storage={tmp_path}", f"store={url}"])
    monkeypatch.setenv("TUNEFLEET_STORE", url)
    with pytest.raises(SpecError, match=r"\n  TUNEFLEET_STORE: 'sqlite:///.*it lies on a network disk \(nfs4"):
        load_spec(GOOD, [f"cluster.storage={tmp_path}"])
