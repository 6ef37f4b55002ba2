"""A bucket as `cluster.storage`: s3://BUCKET/FOLDER or gs://BUCKET/FOLDER, reached through pyarrow from every node.

What such a URI may hold, how it is opened, and whether it can be used from here: `probe_bucket` writes an object, reads
it back and deletes it. Credentials come from the machine: its role, its environment, or a file of the cloud's own
tools. They never stand in the URI, which is copied into specs, logs and pickles.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

from cluster.capacity import ClusterError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

# By scheme: the options that may follow a `?`, as pyarrow knows them.
OPTIONS = {
    "s3": {"region", "scheme", "endpoint_override", "tls_ca_file_path", "tls_verify_certificates"},
    "gs": {"scheme", "endpoint_override", "retry_limit_seconds"},
}
# By scheme: where credentials come from.
CREDENTIALS = {
    "s3": "an instance role, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials",
    "gs": "an instance's service account, GOOGLE_APPLICATION_CREDENTIALS, or `gcloud auth application-default login`",
}
PROBE_SECONDS = 10  # that Google's client repeats a refused request; by itself it does so for 15 minutes
# Error messages of the clouds' clients, and what they mean; the first that matches counts.
REASONS = (
    (
        r"NO_SUCH_BUCKET|NoSuchBucket|bucket does not exist|NOT_FOUND",
        "there is no such bucket",
        "create it, or name another",
    ),
    (
        r"anonymous|[Cc]redentials|OAuth2|UNAUTHENTICATED|INVALID_ACCESS_KEY|InvalidAccessKeyId|EXPIRED_TOKEN|"
        r"SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN|UNRECOGNIZED_CLIENT",
        "no valid credentials on this machine",
        "give it {proof}",
    ),
    (
        r"ACCESS_DENIED|AccessDenied|PERMISSION_DENIED|FORBIDDEN|HTTP status 403",
        "the credentials of this machine (if it has any) may not do that",
        "allow them to list the bucket and to read, write and delete its objects, or give it {proof}",
    ),
    (
        r"PermanentRedirect|MOVED|301|AuthorizationHeaderMalformed|IllegalLocationConstraint",
        "the bucket is in another region",
        "add it: ?region=REGION",
    ),
    (
        r"NETWORK_CONNECTION|Could not connect|Could not resolve|UNAVAILABLE|[Tt]imed? ?out",
        "it cannot be reached",
        "look at the network, the region and the endpoint (?region=..., ?endpoint_override=HOST:PORT&scheme=http)",
    ),
)


class StorageError(ClusterError):
    """Something cannot be written to the storage path."""


class Bucket(NamedTuple):
    """An opened storage URI."""

    filesystem: FileSystem  # pickles without the credentials, which each process finds by itself
    path: str  # bucket and folder, without a slash at the end


def is_uri(storage: str) -> bool:
    """True if a storage is a URI, not a folder of this machine's file system."""
    return "://" in storage


def uri_mistake(uri: str) -> tuple[str, str] | None:
    """Returns why `uri` cannot be a storage, as the rule and the next step, or None; sends nothing."""
    parts = urlsplit(uri)
    if parts.scheme not in OPTIONS:
        return "must be a folder that every node reaches, s3://BUCKET/FOLDER or gs://BUCKET/FOLDER", "change it"
    options = parse_qs(parts.query, keep_blank_values=True)
    if parts.password is not None or (parts.username and parts.username != "anonymous") or has_credential(options):
        return "credentials must not stand in it: it is copied into specs and logs", f"use {CREDENTIALS[parts.scheme]}"
    if parts.username:
        return "trials write there, which nobody may do anonymously", f"use {CREDENTIALS[parts.scheme]}"
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", parts.netloc):
        return "names no bucket", f"write {parts.scheme}://BUCKET/FOLDER"
    if parts.fragment or "//" in parts.path or "#" in uri or {".", ".."} & set(parts.path.split("/")):
        return "must be a bucket and plain folder names", f"write {parts.scheme}://BUCKET/FOLDER"
    if unknown := sorted(options.keys() - OPTIONS[parts.scheme]):
        return f"has an unknown option {unknown[0]}", f"options are {', '.join(sorted(OPTIONS[parts.scheme]))}"
    return None


def has_credential(options: dict[str, list[str]]) -> bool:
    """True if one of the options of a URI is a credential, by its name."""
    return any(re.search(r"key|secret|token|password|credential|signature", name, re.IGNORECASE) for name in options)


def without_credentials(uri: str) -> str:
    """Returns `uri` without anything that may be a credential."""
    parts = urlsplit(uri)
    if not (parts.username or parts.password or has_credential(parse_qs(parts.query, keep_blank_values=True))):
        return uri
    return f"{parts.scheme}://***@{parts.netloc.rpartition('@')[2]}{parts.path}"


def join_uri(uri: str, *names: str) -> str:
    """Returns the URI of a folder or an object below the folder `uri`; its options stay."""
    parts = urlsplit(uri)
    return parts._replace(path="/".join((parts.path.rstrip("/"), *names))).geturl()


def open_bucket(uri: str, **options: str) -> Bucket:
    """Opens the file system behind `uri`. Without a region in it, S3 is queried for the bucket's region.

    Args:
        options: pyarrow's own, besides those in the URI.

    Raises:
        ClusterError: it is no URI of a storage, or the cloud does not answer.
    """
    from pyarrow.fs import FileSystem

    if why := uri_mistake(uri):
        raise ClusterError(f"cluster.storage: {without_credentials(uri)}: {why[0]}; {why[1]}")
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        options["allow_delayed_open"] = "true"  # one request for a small object instead of three
    query = urlencode(options | {name: values[-1] for name, values in parse_qs(parts.query).items()})
    with cloud_errors(uri, "be opened"):
        filesystem, path = FileSystem.from_uri(parts._replace(query=query).geturl())
    return Bucket(filesystem, path.rstrip("/"))


def probe_bucket(uri: str) -> None:
    """Writes a small object below `uri`, reads it back and deletes it, with the credentials of this machine.

    Raises:
        ClusterError: it cannot be used; says why, and what to do.
    """
    bucket = open_bucket(uri, **({"retry_limit_seconds": str(PROBE_SECONDS)} if uri.startswith("gs://") else {}))
    written, path = uuid.uuid4().hex.encode(), f"{bucket.path}/.probe-{uuid.uuid4().hex}"
    with cloud_errors(uri, "be written"), bucket.filesystem.open_output_stream(path) as output:
        output.write(written)
    with cloud_errors(uri, "be read"), bucket.filesystem.open_input_stream(path) as source:
        read = source.read()
    with cloud_errors(uri, "be deleted from"):
        bucket.filesystem.delete_file(path)
    if read != written:
        raise ClusterError(f"cluster.storage: {uri} gives back other bytes than were written. Is it a cache?")


@contextmanager
def cloud_errors(uri: str, action: str) -> Iterator[None]:
    """Turns errors of the cloud's client in the block into a ClusterError that says why `uri` cannot `action`."""
    import pyarrow

    try:
        yield
    except (OSError, pyarrow.ArrowException) as error:
        raise ClusterError(
            f"cluster.storage: {without_credentials(uri)} cannot {action}: {explain_cloud_error(uri, error)}"
        ) from error


def explain_cloud_error(uri: str, error: Exception) -> str:
    """Returns what an error of a cloud's client means, what to do, and its own message."""
    words = " ".join(str(error).split())
    for pattern, meaning, step in REASONS:
        if re.search(pattern, words):
            return f"{meaning}; {step.format(proof=CREDENTIALS[urlsplit(uri).scheme])}. ({words[:300]})"
    return words[:500]
