"""The URI of a bucket, and the probe that says why a bucket cannot be used."""

from __future__ import annotations

import pickle

import pytest

from cluster.capacity import ClusterError
from cluster.storage import (
    CREDENTIALS,
    explain_cloud_error,
    join_uri,
    open_bucket,
    probe_bucket,
    uri_mistake,
    without_credentials,
)
from tests.support.buckets import KEY, objects, send
from tests.support.stopped_runs import spec_of
from tuning import load_spec
from tuning.spec.mistakes import SpecError


@pytest.mark.unit
@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("s3://somebody:canary@bucket/runs", "credentials must not stand in it"),
        ("s3://bucket/runs?access_key=somebody&secret_key=canary", "credentials must not stand in it"),
        ("s3://bucket/runs?session_token=canary", "credentials must not stand in it"),
        ("gs://anonymous@bucket/runs", "nobody may do anonymously"),
        ("s3://", "names no bucket"),
        ("s3://My Bucket/runs", "names no bucket"),
        ("s3://bucket//runs", "plain folder names"),
        ("s3://bucket/runs/..", "plain folder names"),
        ("gs://bucket/./runs", "plain folder names"),
        ("s3://bucket/runs?regoin=eu-central-1", "unknown option regoin"),
        ("ftp://host/runs", "must be a folder that every node reaches, s3://BUCKET/FOLDER"),
    ],
)
def test_a_uri_that_cannot_be_a_storage_is_a_mistake_of_the_spec_and_shows_no_secret(uri: str, told: str) -> None:
    with pytest.raises(SpecError) as error:
        load_spec({**spec_of("runs", "grid", 0.0), "cluster": {"storage": uri}})
    assert "cluster.storage" in str(error.value)
    assert told in str(error.value)
    assert "canary" not in str(error.value)
    assert "canary" not in without_credentials(uri)
    with pytest.raises(ClusterError, match=r"cluster\.storage"):
        open_bucket(uri)


@pytest.mark.unit
@pytest.mark.parametrize(
    "uri", ["s3://bucket", "s3://bucket/a/b", "gs://bucket/a", "s3://bucket/a?region=eu-central-1&scheme=https"]
)
def test_a_bucket_with_folders_and_options_can_be_one(uri: str) -> None:
    assert uri_mistake(uri) is None
    assert join_uri(uri, "c") == f"{uri.partition('?')[0]}/c{''.join(uri.partition('?')[1:])}"


@pytest.mark.unit
def test_the_probe_leaves_nothing_behind_and_no_credential_is_pickled(bucket: str) -> None:
    probe_bucket(bucket)
    assert objects(bucket) == []
    opened = pickle.dumps(open_bucket(bucket))
    assert KEY.encode() not in opened
    assert b"somebody" not in opened


@pytest.mark.unit
def test_the_probe_tells_a_missing_bucket(bucket: str) -> None:
    with pytest.raises(ClusterError, match=r"cluster.storage: s3://nowhere/runs cannot .*there is no such bucket"):
        probe_bucket("s3://nowhere/runs")


@pytest.mark.system
def test_the_probe_tells_a_server_that_does_not_answer(bucket: str) -> None:
    with pytest.raises(ClusterError, match=r"cannot be reached; look at the network, the region and the endpoint"):
        probe_bucket("s3://bucket/runs?endpoint_override=127.0.0.1:9&scheme=http")


@pytest.mark.unit
def test_the_probe_tells_credentials_that_are_not_known_from_those_that_may_not(
    bucket: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    identities = boto3.client("iam")
    identities.create_user(UserName="guest")
    key = identities.create_access_key(UserName="guest")["AccessKey"]
    send(f"{server}/moto-api/reset-auth", "POST", b"0")  # from now on it looks at who asks
    try:
        with pytest.raises(ClusterError, match="no valid credentials on this machine; give it an instance role"):
            probe_bucket(bucket)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        with pytest.raises(ClusterError, match=r"may not do that; allow them to list the bucket"):
            probe_bucket(bucket)
    finally:
        send(f"{server}/moto-api/reset-auth", "POST", b"inf")


@pytest.mark.unit
def test_what_googles_client_says_without_credentials_is_understood() -> None:
    """The message is that of pyarrow 26 on a machine without credentials."""
    said = OSError(
        "google::cloud::Status(UNAVAILABLE: Retry policy exhausted, with a last message of Could not create a OAuth2 "
        "access token to authenticate the request. The request was not sent, as such an access token is required"
    )
    told = explain_cloud_error("gs://bucket/runs", said)
    assert told.startswith(f"no valid credentials on this machine; give it {CREDENTIALS['gs']}")
