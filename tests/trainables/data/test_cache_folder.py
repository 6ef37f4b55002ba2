"""The folder of the dataset cache: where it is, how large it may become, and whose it must be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainables.data.cache_folder import CacheError, cache_folder, cache_limit
from trainables.data.dataset_cache import DatasetCache

LARGE = int(1e9)


@pytest.mark.unit
def test_a_place_that_cannot_be_written_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match=r"TUNEFLEET_CACHE: .*cannot hold the tokenised data: .*; set TUNEFLEET_CACHE"):
        DatasetCache(tmp_path / "file" / "cache", LARGE)


@pytest.mark.unit
@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a folder for another account")
@pytest.mark.parametrize("place", [".", "tokens"])
def test_a_folder_that_another_account_has_made_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    folder = tmp_path / "cache"
    DatasetCache(folder, LARGE)
    os.chown(folder / place, 65534, 65534)
    rule = (
        rf"{folder / place} belongs to another account \(uid 65534\), .*; set TUNEFLEET_CACHE to a folder of your own"
    )
    with pytest.raises(CacheError, match=rule):
        DatasetCache(folder, LARGE)
    monkeypatch.setenv("TUNEFLEET_CACHE", str(folder))
    if place == ".":
        with pytest.raises(CacheError, match=rule):
            cache_folder()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "mine")
    (tmp_path / "mine").mkdir()
    DatasetCache(link, LARGE)  # one's own, to a larger disk
    os.chown(link, 65534, 65534, follow_symlinks=False)
    with pytest.raises(CacheError, match=rf"{link} belongs to another account"):  # it leads somebody into his own files
        DatasetCache(link, LARGE)


@pytest.mark.unit
def test_a_folder_that_all_can_write_into_is_refused_and_a_sticky_one_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(CacheError, match=rf"every account can write into {folder} \(mode 0777\); `chmod o-w {folder}`"):
        DatasetCache(folder, LARGE)
    folder.chmod(0o1777)  # as /tmp is: what lies in it is its owner's
    DatasetCache(folder, LARGE)
    (folder / "tokens").chmod(0o777)
    with pytest.raises(CacheError, match=r"every account can write into .*tokens"):
        DatasetCache(folder, LARGE)


@pytest.mark.unit
def test_a_link_in_the_place_of_the_tokens_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "tokens").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CacheError, match=r"tokens is a symbolic link, .*; remove the link"):
        DatasetCache(tmp_path / "cache", LARGE)


@pytest.mark.unit
def test_the_place_is_the_variables_then_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEFLEET_CACHE", "/scratch/tokens")
    assert cache_folder() == Path("/scratch/tokens")
    monkeypatch.delenv("TUNEFLEET_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch/cache")
    assert cache_folder() == Path("/scratch/cache/tunefleet")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_folder() == Path("/home/somebody/.cache/tunefleet")


@pytest.mark.unit
def test_a_relative_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEFLEET_CACHE", "tokens")
    with pytest.raises(CacheError, match="TUNEFLEET_CACHE: 'tokens': must be an absolute path"):
        cache_folder()


@pytest.mark.unit
@pytest.mark.parametrize(("text", "expected"), [("", 20e9), ("0.5", 5e8), ("3", 3e9)])
def test_the_limit_is_read_in_gigabytes(monkeypatch: pytest.MonkeyPatch, text: str, expected: float) -> None:
    monkeypatch.setenv("TUNEFLEET_CACHE_GB", text)
    assert cache_limit() == expected


@pytest.mark.unit
@pytest.mark.parametrize("text", ["20GB", "0", "-1", "nan", "inf"])
def test_a_limit_that_is_no_size_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TUNEFLEET_CACHE_GB", text)
    with pytest.raises(CacheError, match=f"TUNEFLEET_CACHE_GB: '{text}': must be a number of gigabytes above 0; set"):
        cache_limit()
