"""Collects the files of a spec that are on this machine alone, their paths on the cluster, and the spec with these.

On the cluster they are below STORAGE/.uploads, in a folder named after their content: equal data are stored once, a
resumed run finds them, and the spec that names them is the same whoever submits it.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
import zipfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from trainables.errors import InputError
from trainables.models.files import EMBEDDED
from trainables.spec import DataSpec
from trainables.tasks import find_task
from trainables.tasks.files import split_files
from trainables.tasks.sources import reads_local_files
from trainables.user_trainer.shipped_files import ShippedFiles
from trainables.user_trainer.shipped_tables import names_within
from tuning.spec.models import ExperimentSpec

UPLOADS = ".uploads"  # no experiment can have this name
SPLITS = ("train", "validation", "test")
EPOCH = (1980, 1, 1, 0, 0, 0)  # time of every file in an archive, so that equal files make equal archives


class Upload(NamedTuple):
    """A file on this machine and its path below STORAGE/.uploads."""

    source: Path
    target: str


def collect_uploads(spec: ExperimentSpec, on_cluster: Collection[str]) -> tuple[ExperimentSpec, list[Upload]]:
    """Returns the spec with the paths on the cluster, and the files that it needs there.

    Args:
        spec: with the paths on this machine.
        on_cluster: those of `data` and `model` whose paths are on the cluster already.

    Raises:
        InputError: a file of the spec is not here.
    """
    uploads: list[Upload] = []
    if spec.trainable == "learning_curve":  # a formula reads nothing
        return spec, uploads
    uploads_folder = f"{spec.cluster.storage}/{UPLOADS}"
    if "data" not in on_cluster and reads_local_files(spec.data):
        base, files = _data_files(spec)
        folder = _digest(files)
        uploads += (Upload(path, f"{folder}/{name}") for name, path in files.items())
        spec = spec.model_copy(update={"data": _moved(spec.data, base, f"{uploads_folder}/{folder}")})
    if "model" not in on_cluster and spec.model != EMBEDDED and Path(spec.model).is_dir():
        files = _below(Path(spec.model))
        folder = f"{_digest(files)}/{Path(spec.model).name}"
        uploads += (Upload(path, f"{folder}/{name}") for name, path in files.items())
        spec = spec.model_copy(update={"model": f"{uploads_folder}/{folder}"})
    moved, shipped = _shipped(spec, uploads_folder)
    return spec.model_copy(update=moved), [*uploads, *shipped]


def _shipped(spec: ExperimentSpec, uploads_folder: str) -> tuple[dict[str, Any], list[Upload]]:
    """Collects what a search from Python has shipped to a folder of this machine, data sets included.

    Files in a bucket stay there.

    Returns:
        The fields of the spec that name the files on the cluster, and the files.

    Raises:
        InputError: one of them no longer exists.
    """
    objects = {key: path for key, path in spec.shipped.items() if "://" not in path}
    files: dict[str, Path] = {}
    for path in objects.values():
        beside, name = ShippedFiles.around(path)
        files[name] = beside.local(name)
        files |= {table: beside.local(table) for table in names_within(files[name].read_bytes())}
    folder = _digest(files)
    moved = spec.shipped_to({key: f"{uploads_folder}/{folder}/{Path(path).name}" for key, path in objects.items()})
    return moved, [Upload(path, f"{folder}/{name}") for name, path in files.items()]


def _data_files(spec: ExperimentSpec) -> tuple[Path | None, dict[str, Path]]:
    """Returns the folder that relative paths start from, and the data files by their name in the upload.

    The user's own function may read anything below `data.path`; our tasks read what `split_files` finds.
    """
    data = spec.data
    start = Path(data.path) if data.path is not None else None
    if start is not None and not start.exists():
        step = "check the path, or add --on-cluster data if it is the cluster's"
        raise InputError("data.path", data.path, "no such file or folder on this machine", step)
    base = start.parent if start is not None and start.is_file() else start
    if spec.trainable == "finetune":
        found = [path for paths in split_files(find_task(spec.task).options(data)).values() for path in paths]
    else:
        found = ([] if start is None else [start] if start.is_file() else list(_below(start).values())) + _named(
            data, base
        )
    return base, {_name(path, base): path for path in sorted(set(found))}


def _named(data: DataSpec, base: Path | None) -> list[Path]:
    stated = [value for value in (getattr(data, split) for split in SPLITS) if value is not None]
    paths = [(base or Path()) / Path(value).expanduser() for value in stated]
    for path in paths:
        if not path.is_file():
            step = "check the path, or add --on-cluster data if it is the cluster's"
            raise InputError("data", str(path), "no such file on this machine", step)
    return paths


def _name(path: Path, base: Path | None) -> str:
    """Returns a file's path below `base`; files elsewhere get a prefix from their folder."""
    absolute = Path(os.path.abspath(path))
    if base is not None and absolute.is_relative_to(os.path.abspath(base)):
        return absolute.relative_to(os.path.abspath(base)).as_posix()
    return f"elsewhere/{hashlib.sha256(str(absolute.parent).encode()).hexdigest()[:8]}/{absolute.name}"


def _moved(data: DataSpec, base: Path | None, uploads_folder: str) -> DataSpec:
    changed = {}
    if data.path is not None:
        start = Path(data.path)
        changed["path"] = f"{uploads_folder}/{start.name}" if start.is_file() else uploads_folder
    for split in SPLITS:
        if (value := getattr(data, split)) is not None:
            name = _name((base or Path()) / Path(value).expanduser(), base)
            changed[split] = name if base is not None else f"{uploads_folder}/{name}"
    return data.model_copy(update=changed)


def _below(folder: Path) -> dict[str, Path]:
    """Returns every file below `folder` by its relative path, except hidden ones."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    relative = ((path.relative_to(folder), path) for path in files)
    return {name.as_posix(): path for name, path in relative if not any(part.startswith(".") for part in name.parts)}


def _digest(files: Mapping[str, Path]) -> str:
    """Returns 16 hex digits of a digest of names and contents."""
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        with path.open("rb") as file:
            digest.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def write_archive(target: Path, files: Iterable[tuple[str, Path | bytes]]) -> None:
    """Writes a ZIP of files (or contents) by name; equal files give equal bytes, whoever writes it, and when."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, source in sorted(files, key=lambda entry: entry[0]):
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            if isinstance(source, bytes):
                archive.writestr(info, source)
                continue
            with source.open("rb") as read, archive.open(info, "w", force_zip64=True) as written:
                while block := read.read(1 << 20):
                    written.write(block)


def store_uploads(uploads: Path, storage: Path) -> None:
    """Moves uploaded files from a job's working directory to STORAGE/.uploads, where they stay. Runs on the cluster.

    A file is there as a whole or not at all, also with several jobs at once. An equal file that exists is not written;
    one that differs was damaged, or is not what was submitted, and is replaced.

    Raises:
        OSError: the storage cannot be written.
    """
    for source in sorted(path for path in uploads.rglob("*") if path.is_file()):
        target = storage / UPLOADS / PurePosixPath(source.relative_to(uploads).as_posix())
        if target.is_file() and filecmp.cmp(source, target, shallow=False):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}.{os.getpid()}")
        unfinished.write_bytes(source.read_bytes())
        unfinished.replace(target)
