"""A token keeps strangers out: its file, the folder that Ray works in, and settings that would open a node."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from cluster.capacity import ClusterError
from cluster.nodes.head import check_open_head
from cluster.nodes.start import exposed_dashboard, start_node
from cluster.nodes.token_file import ray_folder, token_source
from cluster.ray_compat.head_service import Machine

pytestmark = pytest.mark.unit


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Gives the test its own home, and unsets the variables that name a token."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_new_token_is_closed_to_others_from_its_first_instant(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, real = [], os.open

    def watched(path: str, flags: int, mode: int = 0o777) -> int:
        descriptor = real(path, flags, mode)
        opened.append((flags & os.O_EXCL, stat.S_IMODE(os.fstat(descriptor).st_mode)))
        return descriptor

    monkeypatch.setattr(os, "open", watched)
    before = os.umask(0)
    try:
        source = token_source(make=True)
    finally:
        os.umask(before)
    assert source == (home / ".ray" / "auth_token", True)
    assert opened == [(os.O_EXCL, 0o600)]
    assert stat.S_IMODE((home / ".ray").stat().st_mode) == 0o700
    text = (home / ".ray" / "auth_token").read_text()
    assert len(bytes.fromhex(text)) == 32
    assert token_source(make=True) == (home / ".ray" / "auth_token", False)
    assert (home / ".ray" / "auth_token").read_text() == text


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_token_that_others_can_read_is_refused_and_not_closed_quietly(mode: int, home: Path) -> None:
    file = home / "token"
    file.write_text("f" * 64)
    file.chmod(mode)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
        with pytest.raises(ClusterError, match=f"{file}: mode {mode:04o}, but nobody else may read a token.*chmod 600"):
            token_source(make=True)
    assert stat.S_IMODE(file.stat().st_mode) == mode


def test_an_empty_token_is_refused(home: Path) -> None:
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").touch(mode=0o600)
    with pytest.raises(ClusterError, match=r"holds no token\. Delete it"):
        token_source(make=True)


def test_a_folder_for_ray_that_somebody_else_made_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(home))
    assert ray_folder(make=True) == home / f"tunefleet-{os.getuid()}" / "ray"
    (home / f"tunefleet-{os.getuid()}").chmod(0o755)
    for make in (True, False):  # to read from: where `auto` sends the token
        with pytest.raises(ClusterError, match=r"is not a folder of this account's alone \(mode 0700\)"):
            ray_folder(make=make)


@pytest.mark.parametrize(
    ("options", "host"),
    [
        ([], None),
        (["--dashboard-host=127.0.0.1"], None),
        (["--dashboard-host", "0.0.0.0", "--num-cpus=1"], "0.0.0.0"),
        (["--num-cpus=1", "--dashboard-host=::"], "::"),
    ],
)
def test_a_dashboard_that_others_reach_is_seen_in_either_spelling(options: list[str], host: str | None) -> None:
    assert exposed_dashboard(options) == host


def test_what_would_undo_the_defaults_is_refused_by_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match="--address: after `--` stand only other options"):
        start_node(None, ["--address=head:6379"], None)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(ClusterError, match="RAY_AUTH_MODE: disabled, but `tunefleet cluster start` starts only what"):
        start_node(None, [], None)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_START_HOOK", "theirs.hook")
    with pytest.raises(ClusterError, match=r"RAY_START_HOOK: theirs\.hook, but `tunefleet cluster start` closes ports"):
        start_node(None, [], None)
    assert list(home.iterdir()) == []


HERE = Machine(socket.gethostname(), "127.0.0.1")


def test_a_head_looks_for_lost_nodes_more_often_than_rays_own_and_takes_compiled_code_from_a_closed_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    started: list[dict[str, str]] = []

    class Started(Exception):
        """Is raised where the command would become Ray's process."""

    def become(path: str, command: list[str], environment: dict[str, str]) -> None:
        started.append(environment)
        raise Started

    monkeypatch.setattr(os, "execve", become)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)  # torch sets it in the process that compiles
    for given in (None, "500"):
        if given is not None:
            monkeypatch.setenv("RAY_health_check_period_ms", given)
        with pytest.raises(Started):
            start_node(None, ["--block"], None)
    assert [environment["RAY_health_check_period_ms"] for environment in started] == ["2000", "500"]
    compiled = Path(started[0]["TORCHINDUCTOR_CACHE_DIR"]).parent
    assert (compiled.stat().st_uid, compiled.stat().st_mode & 0o777) == (os.getuid(), 0o700)


@pytest.mark.parametrize(
    ("address", "machines", "stranger"),
    [
        ("127.0.0.1:6379", {HERE}, None),
        ("127.0.0.1:6379", {HERE, Machine("other", "203.0.113.7")}, r"other \(203.0.113.7\)"),
        ("127.0.0.1:6379", {HERE._replace(address="203.0.113.7")}, r"\(203.0.113.7\)"),  # a name that two machines have
        ("203.0.113.7:6379", {HERE}, "203.0.113.7:6379"),  # a tunnel's other end
    ],
)
def test_a_cluster_without_a_token_is_joined_on_this_machine_alone_unless_the_user_insists(
    address: str, machines: set[Machine], stranger: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if stranger is not None:
        with pytest.raises(ClusterError, match=f"runs code on .*{stranger}.*cluster.allow_unauthenticated=true"):
            check_open_head(address, machines, allowed=False)
        assert capsys.readouterr().err == ""
    check_open_head(address, machines, allowed=stranger is not None)
    assert "asks for no token and listens on all interfaces" in capsys.readouterr().err
