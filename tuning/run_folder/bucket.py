"""The files of a run in its bucket, besides the checkpoints: the spec, which claims the name, and a copy of the store.

    s3://BUCKET/FOLDER/NAME/spec.yaml
    s3://BUCKET/FOLDER/NAME/study.db     if the store is SQLite; see `bucket_store`
    s3://BUCKET/FOLDER/NAME/driver.lease while a driver runs; see `lease`
    s3://BUCKET/FOLDER/.experiments/NAME empty; not every cloud lists folders

A driver works in a folder of its own machine. The bucket holds all that another machine needs to continue.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from urllib.parse import urlsplit

from cluster.storage import cloud_errors, join_uri, open_bucket
from trainables.data.cache_folder import cache_folder, private_folder
from tuning.run_folder.bucket_store import BucketStore
from tuning.spec.models import SPEC_FILE, working_folder

LEASE = "driver.lease"  # names the driver of the run; see `lease`
EXPERIMENTS = ".experiments"  # no experiment can have this name


def split_uri(uri: str) -> tuple[str, str]:
    """Splits the URI of an experiment in a bucket into its storage and its name."""
    parts = urlsplit(uri)
    folder, _, name = parts.path.rstrip("/").rpartition("/")
    return parts._replace(path=folder).geturl(), name


class RunBucket:
    """The files of the experiment `name` in a bucket, below `storage`.

    Raises:
        ClusterError: here and in all methods, the bucket cannot be opened, read or written; says what to do.
    """

    def __init__(self, storage: str, name: str) -> None:
        self.uri = join_uri(storage, name)
        self.folder = working_folder(storage, name)
        self.filesystem, self.path = open_bucket(self.uri)
        self.store = BucketStore(self.filesystem, self.path, self.uri)
        self._listed = f"{posixpath.dirname(self.path)}/{EXPERIMENTS}/{name}"

    def make_folder(self) -> Path:
        """Makes the working folder on this machine, if there is none, and returns it.

        Raises:
            InputError: another account's folder, or a symbolic link, has that path.
        """
        root = cache_folder()
        return private_folder(root, *self.folder.relative_to(root).parts)

    def spec(self) -> str | None:
        """Returns the text of the spec that has claimed the name; None if none has."""
        with cloud_errors(self.uri, "be read"):
            try:
                with self.filesystem.open_input_stream(f"{self.path}/{SPEC_FILE}") as source:
                    return str(source.read().decode())
            except FileNotFoundError:
                return None

    def claimed(self) -> float:
        """Returns when that spec was written, in seconds since 1970."""
        with cloud_errors(self.uri, "be read"):
            return float(self.filesystem.get_file_info(f"{self.path}/{SPEC_FILE}").mtime.timestamp())

    def claim(self, spec: str) -> None:
        """Claims the name: writes the spec."""
        with cloud_errors(self.uri, "be written"):
            with self.filesystem.open_output_stream(self._listed):
                pass
            with self.filesystem.open_output_stream(f"{self.path}/{SPEC_FILE}") as output:
                output.write(spec.encode())

    def release(self) -> None:
        """Releases the name: deletes the spec."""
        with cloud_errors(self.uri, "be written"):
            self.filesystem.delete_file(f"{self.path}/{SPEC_FILE}")
            self.filesystem.delete_file(self._listed)

    def clear(self) -> None:
        """Deletes everything of the run, the spec last; the lease stays, as its holder deletes it."""
        from pyarrow.fs import FileSelector

        with cloud_errors(self.uri, "be written"):
            found = self.filesystem.get_file_info(FileSelector(self.path, allow_not_found=True, recursive=True))
            paths = [info.path for info in found if info.is_file and info.base_name != LEASE]
            for path in sorted(paths, key=lambda path: path == f"{self.path}/{SPEC_FILE}"):
                self.filesystem.delete_file(path)
            if self.filesystem.get_file_info(self._listed).is_file:
                self.filesystem.delete_file(self._listed)


def bucket_names(storage: str) -> list[str]:
    """Returns the names of the experiments below `storage`.

    Raises:
        ClusterError: the bucket cannot be read.
    """
    from pyarrow.fs import FileSelector

    bucket = open_bucket(storage)
    with cloud_errors(storage, "be read"):
        listed = bucket.filesystem.get_file_info(FileSelector(f"{bucket.path}/{EXPERIMENTS}", allow_not_found=True))
        names = sorted(info.base_name for info in listed if info.is_file)
        specs = bucket.filesystem.get_file_info([f"{bucket.path}/{name}/{SPEC_FILE}" for name in names])
    return [name for name, spec in zip(names, specs, strict=True) if spec.is_file]
