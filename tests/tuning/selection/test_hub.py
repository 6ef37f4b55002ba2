"""Models on the way to the Hugging Face Hub: the real client, and a stand-in of the server on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub_server import TOKEN, Hub, running_hub, use_hub
from tuning.selection.hub import HubError, make_repo, push

pytestmark = pytest.mark.unit

Settings = Callable[..., None]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 4096)
    (folder / "README.md").write_text("---\nlibrary_name: transformers\n---\n\n# mine\n")
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture(autouse=True)
def client(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The client looks for the stand-in, and for a token where there is none; call it to set other variables."""

    def set_to(**settings: Any) -> None:
        use_hub(monkeypatch, hub, tmp_path / "home", **settings)

    set_to()
    return set_to


def test_a_model_is_uploaded_as_it_is_and_the_token_is_written_nowhere(
    hub: Hub, model: Path, client: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    client(token=TOKEN)
    for _ in range(2):  # the repository may be there already
        assert push(model, make_repo("someone/mine")) == f"{hub.endpoint}/someone/mine"
    assert hub.private == {"someone/mine": True}
    assert hub.files["someone/mine"] == {path.name: path.read_bytes() for path in model.iterdir()}
    written = [path for path in model.parent.rglob("*") if path.is_file()]
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]
    assert TOKEN not in "".join(capfd.readouterr())


def test_a_repository_is_private_unless_it_was_asked_to_be_public(hub: Hub, client: Settings) -> None:
    client(token=TOKEN)
    assert make_repo("mine") == "someone/mine"
    assert make_repo("shown", public=True) == "someone/shown"
    assert hub.private == {"someone/mine": True, "someone/shown": False}


def test_a_public_repository_that_is_there_already_is_not_pushed_to_unasked(hub: Hub, client: Settings) -> None:
    client(token=TOKEN)
    hub.private["someone/shown"] = False
    with pytest.raises(HubError, match=r"someone/shown: is public, and it was not asked for that; .*--public, make it"):
        make_repo("someone/shown")
    assert make_repo("someone/shown", public=True) == "someone/shown"
    hub.private["someone/mine"] = True
    assert make_repo("someone/mine", public=True) == "someone/mine"  # it stays as private as it is


def test_a_repository_that_may_be_read_alone_is_refused_before_the_training(hub: Hub, client: Settings) -> None:
    client(token=TOKEN)
    hub.private |= {"someone/mine": True, "others/shown": False}
    hub.read_only.add("someone/mine")
    for repo in ("someone/mine", "others/shown"):
        with pytest.raises(HubError, match="cannot write to it: HTTP 403; the token may not write there"):
            make_repo(repo, public=True)


@pytest.mark.parametrize(
    ("repo", "settings", "rule"),
    [
        ("someone/mine", {"token": "hf_wrong"}, "HTTP 401; the token is missing or wrong: set HF_TOKEN"),
        ("someone/mine", {}, "the token is missing or wrong: set HF_TOKEN"),
        ("others/mine", {"token": TOKEN}, "HTTP 403; the token may not write there"),
        ("a/b/c", {"token": TOKEN}, "is no name of a repository"),
        ("someone/mine", {"token": TOKEN, "endpoint": "http://127.0.0.1:9"}, "no connection to the hub"),
        ("someone/mine", {"token": TOKEN, "offline": True}, "HF_HUB_OFFLINE is set; unset it"),
    ],
)
def test_a_refusal_of_the_hub_is_one_line_with_a_next_step(
    hub: Hub, client: Settings, repo: str, settings: dict[str, str | bool], rule: str
) -> None:
    client(**settings)
    with pytest.raises(HubError) as refused:
        make_repo(repo)
    told = str(refused.value)
    assert told.startswith("--push-to-hub: ")
    assert rule in told
    assert len(told.splitlines()) == 1
    assert TOKEN not in told
    assert hub.files == {}


def test_a_model_that_cannot_be_uploaded_is_reported_with_how_to_do_it_later(
    hub: Hub, model: Path, client: Settings
) -> None:
    client(token="hf_wrong")
    with pytest.raises(HubError, match=f"cannot upload: HTTP 401.*`hf upload someone/mine {model}`.*stays in {model}"):
        push(model, "someone/mine")
