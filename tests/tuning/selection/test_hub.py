"""Models on the way to the Hugging Face Hub: the real client in a process of its own, a stand-in of the server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub_server import TOKEN, Hub, running_hub

pytestmark = pytest.mark.system

PUSH = """
import sys
from pathlib import Path
from tuning.finish.hub import HubError, make_repo, push
try:
    repo = make_repo(sys.argv[1], private=sys.argv[2] == "private")
    print(push(Path(sys.argv[3]), repo))
except HubError as error:
    sys.exit(str(error))
"""


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


def pushed(repo: str, model: Path, *, endpoint: str, visibility: str = "public", **variables: str) -> tuple[int, str]:
    """Exit status, and what was said."""
    settings = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(model.parent / "home"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",  # the stand-in speaks Git LFS, the older of the hub's two ways
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        **variables,
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | settings
    command = [sys.executable, "-c", PUSH, repo, visibility, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    return done.returncode, (done.stdout + done.stderr).strip()


def test_a_model_is_uploaded_as_it_is_and_the_token_is_written_nowhere(hub: Hub, model: Path) -> None:
    for _ in range(2):  # the repository may be there already
        status, told = pushed("someone/mine", model, endpoint=hub.endpoint, visibility="private", HF_TOKEN=TOKEN)
        assert (status, told) == (0, f"{hub.endpoint}/someone/mine")
    assert hub.private == {"someone/mine": True}
    assert hub.files["someone/mine"] == {path.name: path.read_bytes() for path in model.iterdir()}
    written = [path for path in model.parent.rglob("*") if path.is_file()]
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("repo", "variables", "rule"),
    [
        ("someone/mine", {"HF_TOKEN": "hf_wrong"}, "HTTP 401; the token is missing or wrong: set HF_TOKEN"),
        ("someone/mine", {}, "the token is missing or wrong: set HF_TOKEN"),
        ("others/mine", {"HF_TOKEN": TOKEN}, "HTTP 403; the token may not write there"),
        ("a/b/c", {"HF_TOKEN": TOKEN}, "is no name of a repository"),
        ("someone/mine", {"HF_TOKEN": TOKEN, "HF_ENDPOINT": "http://127.0.0.1:9"}, "no connection to the hub"),
        ("someone/mine", {"HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set; unset it"),
    ],
)
def test_a_refusal_of_the_hub_is_one_line_with_a_next_step(
    hub: Hub, model: Path, repo: str, variables: dict[str, str], rule: str
) -> None:
    settings = {"endpoint": hub.endpoint, **{"endpoint" if k == "HF_ENDPOINT" else k: v for k, v in variables.items()}}
    status, told = pushed(repo, model, **settings)
    assert status == 1
    assert told.startswith("--push-to-hub: ")
    assert rule in told
    assert len(told.splitlines()) == 1
    assert TOKEN not in told
    assert hub.files == {}
