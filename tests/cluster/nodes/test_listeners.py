"""The account that listens at an address is found: another account's head is not taken for ours by `auto`."""

from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path

import pytest

from cluster.capacity import ClusterError
from cluster.jobs.dashboard import open_dashboard
from cluster.nodes.head import find_head
from cluster.nodes.listeners import is_here, listeners, own_account, refuse_strangers
from cluster.nodes.start import start_node
from tests.support.strangers import NOBODY, listening_stranger, needs_root, running_stranger


@pytest.fixture(autouse=True)
def _own_ray_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts Ray's folders below `tmp_path`, and unsets the user's variables that name a head or a token file."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir(mode=0o777)
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 64)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("bound", "family", "asked"),
    [
        ("127.0.0.1", socket.AF_INET, "127.0.0.1"),
        ("127.0.0.1", socket.AF_INET, "localhost"),
        ("0.0.0.0", socket.AF_INET, "127.0.0.1"),
        ("::", socket.AF_INET6, "127.0.0.1"),
        ("::1", socket.AF_INET6, "::1"),
        ("::ffff:127.0.0.1", socket.AF_INET6, "127.0.0.1"),
    ],
)
def test_the_owner_of_a_listening_socket_is_found_whatever_it_is_bound_to(
    bound: str, family: socket.AddressFamily, asked: str
) -> None:
    with socket.socket(family) as listening:
        try:
            listening.bind((bound, 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        port = listening.getsockname()[1]
        assert listeners(asked, port) == frozenset(), "bound, but it does not listen"
        listening.listen()
        assert listeners(asked, port) == {os.getuid()}
        assert listeners("127.0.0.77", port) == ({os.getuid()} if bound in ("0.0.0.0", "::") else set())
        assert listeners("203.0.113.7", port) == frozenset(), "an address of another machine"
        refuse_strangers("--address", asked, port, run_by=None, step="")


@pytest.mark.unit
@pytest.mark.parametrize(
    ("host", "here"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("203.0.113.7", False)],
)
def test_this_machine_is_distinguished_from_others(host: str, here: bool) -> None:
    assert is_here(host) is here


@pytest.mark.unit
def test_an_account_that_does_not_exist_is_reported() -> None:
    with pytest.raises(ClusterError, match="run_by: nobody-at-all: this machine has no account of that name"):
        refuse_strangers("--address", "127.0.0.1", 1, run_by="nobody-at-all", step="")


@pytest.mark.unit
def test_an_account_without_a_name_is_called_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)  # as in a container that was started with a number
    assert own_account() == str(os.getuid())


@pytest.mark.system
def test_a_dashboard_of_another_account_on_loopback_is_shown_nothing_unless_the_user_names_that_account() -> None:
    with listening_stranger() as port:
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(ClusterError, match=rf"{port} on this machine belongs to .*uid {NOBODY}.*--run-by NAME"):
                open_dashboard(f"http://{host}:{port}")
        with pytest.raises(ClusterError, match="does not answer within"):  # asked, by the user's own word
            open_dashboard(f"http://127.0.0.1:{port}", run_by=str(NOBODY))


@pytest.mark.system
def test_a_head_of_another_account_on_this_machine_is_refused_before_it_is_asked() -> None:
    with listening_stranger() as port:
        for address in (f"127.0.0.1:{port}", f"localhost:{port}"):
            with pytest.raises(ClusterError, match=rf"uid {NOBODY}.*cluster.run_by=NAME"):
                find_head(address)
        with pytest.raises(ClusterError, match=rf"--address: what listens .*uid {NOBODY}"):
            start_node(f"127.0.0.1:{port}", [], None)


@pytest.mark.system
def test_a_head_of_another_account_that_ray_address_names_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening_stranger() as port:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        with pytest.raises(ClusterError, match=rf"uid {NOBODY}"):
            find_head("auto")


@pytest.mark.unit
@pytest.mark.parametrize("foreign", ["file", "folder", "a link"])
def test_auto_does_not_believe_what_another_account_has_written_into_rays_folder(tmp_path: Path, foreign: str) -> None:
    needs_root()
    folder = tmp_path / "tmp" / "ray"
    folder.mkdir(mode=0o777)
    file = folder / "ray_current_cluster"
    file.write_text("203.0.113.7:6379")
    told = rf"uid {NOBODY}.*Name the head"
    if foreign == "a link":
        file.rename(folder / "elsewhere")
        file.symlink_to(folder / "elsewhere")
        told = "is no plain file"
    else:
        os.chown(file if foreign == "file" else folder, NOBODY, NOBODY)
    with pytest.raises(ClusterError, match=told):
        find_head("auto")


@pytest.mark.unit
def test_auto_believes_what_this_account_has_written_there(tmp_path: Path) -> None:
    folder = tmp_path / "tmp" / "ray"
    folder.mkdir(mode=0o777)
    (folder / "ray_current_cluster").write_text("127.0.0.1:9")
    with pytest.raises(ClusterError, match=r"no Ray head answers at 127\.0\.0\.1:9"):
        find_head("auto")


@pytest.mark.system
def test_a_process_of_another_account_that_calls_itself_a_raylet_is_not_found() -> None:
    with running_stranger("raylet", "--gcs-address=203.0.113.7:6379"):
        try:
            found = find_head("auto").address  # of this account, where one runs beside this test
        except ClusterError as error:
            found = str(error)
    assert "203.0.113.7" not in found
