"""Uploads a model's folder to the Hugging Face Hub.

The Hub's own library finds the token (HF_TOKEN, or `hf auth login`): it never passes through here, and nothing writes
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class HubError(Exception):
    """The Hub cannot be used; the message says why, and what to do."""


def make_repo(repo: str, *, public: bool = False) -> str:
    """Make the model repository unless it exists; returns its full name.

    Call it before hours of training: it refuses a token that may not write, and a public repository unless `public`.

    Raises:
        HubError: the hub refuses, or cannot be reached; or the repository is public, and `public` is false.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    with _hub_errors(repo, "make the repository", "then again"):
        name = str(api.create_repo(repo, private=not public, exist_ok=True).repo_id)
    with _hub_errors(name, "write to it", "then again"):
        api.auth_check(name, write=True)
        if not public and api.model_info(name).private is False:
            raise HubError(
                f"--push-to-hub: {name}: is public, and it was not asked for that; push there with --public, make it "
                "private in its settings, or name another"
            )
    return name


def push(folder: Path, repo: str) -> str:
    """Upload the files of `folder`; returns the address of the repository.

    Raises:
        HubError: the hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi

    again = f"then `hf upload {repo} {folder}`: the model is trained and stays in {folder}"
    with _hub_errors(repo, "upload", again):
        HfApi().upload_folder(repo_id=repo, folder_path=folder, commit_message="Trained by tunefleet train-final")
    return f"{HfApi().endpoint}/{repo}"


@contextmanager
def _hub_errors(repo: str, action: str, again: str) -> Iterator[None]:
    """Turn what the Hub refuses in the block into a HubError of one line."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.errors import HTTPError as NoAnswer  # type: ignore[attr-defined]  # of its HTTP client

    try:
        yield
    except HFValidationError as error:
        raise HubError(
            f"--push-to-hub: {repo!r}: is no name of a repository ({_line(error)}); give USER/NAME"
        ) from error
    except LocalTokenNotFoundError as error:
        raise HubError(f"--push-to-hub: {repo}: no token; set HF_TOKEN or `hf auth login`, {again}") from error
    except OfflineModeIsEnabled as error:
        raise HubError(f"--push-to-hub: {repo}: HF_HUB_OFFLINE is set; unset it, {again}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        step = {
            401: "the token is missing or wrong: set HF_TOKEN or `hf auth login`",
            403: "the token may not write there: make one with write access, or name a repository of your own",
        }.get(status, "see https://status.huggingface.co")
        raise HubError(f"--push-to-hub: {repo}: cannot {action}: HTTP {status}; {step}, {again}") from error
    except (NoAnswer, ConnectionError, TimeoutError) as error:
        raise HubError(
            f"--push-to-hub: {repo}: cannot {action}: no connection to the hub ({_line(error)}); check the network, "
            f"HF_ENDPOINT and proxies, {again}"
        ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
