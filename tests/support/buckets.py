"""Servers that speak the protocols of buckets, each with an empty bucket named `bucket`; and what lies in one."""

from __future__ import annotations

import contextlib
import logging
import socket
import urllib.request
from collections.abc import Iterator

import pytest

from cluster.storage import open_bucket
from trainables.checkpoints.bucket import BucketStorage

KEY = "canary-of-the-secret-key"


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Runs a server that speaks S3, in threads of this process; yields its URL."""
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        send(f"{url}/bucket", "PUT")
        yield url
    finally:
        server.stop()


def send(url: str, method: str, data: bytes = b"") -> None:
    """Sends a request to a server, without credentials."""
    headers = {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=30).close()


def credentials(server: str) -> dict[str, str]:
    """Returns the environment of an account that may use the server at that URL."""
    return {
        "AWS_ENDPOINT_URL": server,
        "AWS_REGION": "us-east-1",  # pyarrow reads the one, boto3 the other
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": KEY,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextlib.contextmanager
def google_server() -> Iterator[str]:
    """Runs a server that speaks Google's protocol, in threads of this process; yields its host and port."""
    emulator = pytest.importorskip("gcp_storage_emulator.server", reason="gcp-storage-emulator is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop()


def s3_storage(uri: str) -> tuple[BucketStorage, str]:
    """Returns the storage of a study of a run at `uri`, and Tune's folder of the study."""
    filesystem, path = open_bucket(uri)
    study = f"{path}/studies/grid-seed0"
    return BucketStorage(filesystem, "s3://", study, f"{path}/states/grid-seed0"), study


def google_storage(server: str, run: str) -> tuple[BucketStorage, str]:
    """Returns the same for a run in the folder `run` of the bucket at `server`."""
    from pyarrow.fs import GcsFileSystem

    filesystem = GcsFileSystem(anonymous=True, scheme="http", endpoint_override=server)
    study = f"bucket/{run}/studies/grid-seed0"
    return BucketStorage(filesystem, "gs://", study, f"bucket/{run}/states/grid-seed0"), study


def objects(uri: str) -> list[str]:
    """Returns the names of all objects below a path, relative to it."""
    from pyarrow.fs import FileSelector

    filesystem, path = open_bucket(uri)
    found = filesystem.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
    return sorted(info.path.removeprefix(f"{path}/") for info in found if info.is_file)
