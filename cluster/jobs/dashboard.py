"""The dashboard of a head, over HTTP: does it answer, accept our token, run our Ray; checked before any job is sent.

In: an address such as http://head:8265. Out: an open `Dashboard`, or a `ClusterError` that says which check failed. The
first request carries no token, so a server that requires none never sees it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from cluster.capacity import ClusterError, Node
from cluster.jobs.route import printable, send_request, server_of
from cluster.nodes.autoscaling import may_grow
from cluster.nodes.listeners import is_here, is_loopback
from cluster.ray_compat.head_service import own_token

if TYPE_CHECKING:
    from requests import Response

ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_DASHBOARD_ADDRESS")  # as `ray job` and `serve` read them
DEFAULT_ADDRESS = "http://127.0.0.1:8265"  # on the head itself, or at the end of a tunnel
PORT = 8265
ANSWER_SECONDS = 5.0  # a dashboard that needs longer for its version is unusable
STREAM_SECONDS = 60.0  # between two pieces of a file
CHUNK = 1 << 18  # bytes
PYTHON = re.compile(r"--python_worker_command=(\S+) ")


def dashboard_url(address: str | None) -> str:
    """Returns the URL in --address, else in the first of `ADDRESS_VARIABLES`, else that of a head on this machine.

    Raises:
        ClusterError: it is no address of a dashboard.
    """
    known = next((name for name in ADDRESS_VARIABLES if os.environ.get(name)), None)
    source, text = ("--address", address) if address else (known or "--address", os.environ.get(known or "", ""))
    text = text or DEFAULT_ADDRESS
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
        raise ClusterError(
            f"{source}: {text}: must be the address of a head's dashboard, such as http://head:8265. "
            "(ray:// and host:6379 are other doors of the same head.)"
        )
    if parts.username or parts.password or parts.query:
        raise ClusterError(f"{source}: must hold no user, password or query; tokens go into RAY_AUTH_TOKEN or its file")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    default = PORT if parts.scheme == "http" else 443
    return f"{parts.scheme}://{host}:{port or default}{parts.path.rstrip('/')}"


@dataclass(frozen=True)
class Dashboard:
    """A dashboard that answered and accepted us."""

    url: str
    token: str | None = field(repr=False)  # None: it requires none
    run_by: str | None = None  # the account that runs it on this machine, where it is neither this one nor root

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every request."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    def nodes(self) -> tuple[Node, ...]:
        """Returns the nodes that are alive.

        Raises:
            ClusterError: there is none yet, or the dashboard does not answer.
        """
        alive = tuple(Node.from_ray(_as_ray_node(node)) for node in self._alive())
        if not alive:
            raise ClusterError(f"{self.url} has no node yet: its head has just started. Try again in some seconds.")
        return alive

    def may_grow(self) -> bool:
        """True if an autoscaler may add nodes; see `cluster.nodes.autoscaling`.

        Raises:
            ClusterError: the dashboard does not answer.
        """
        return any(may_grow(node["labels"]) for node in self._alive())

    def python(self) -> str:
        """Returns the interpreter of the head's Ray; `python` as long as the head does not report it.

        A job's PATH is that of `ray start`, which need not lead into Ray's own environment.

        Raises:
            ClusterError: the dashboard does not answer.
        """
        summary = self._json("/nodes", {"view": "summary"})["data"]["summary"]
        commands = (node.get("cmdline") for node in summary if node.get("raylet", {}).get("isHeadNode"))
        command = " ".join(next(commands, ()) or ())  # None until the node's agent has looked
        found = PYTHON.search(command)
        return found.group(1) if found else "python"

    def log_file(self, node: str, name: str) -> Iterator[bytes]:
        """Yields the bytes of a file below the log folder of a node's session.

        Raises:
            ClusterError: there is no such file, or the connection broke.
        """
        import requests

        query = {"node_id": node, "filename": name, "lines": "-1", "timeout": "3600"}
        answer = self._get("/api/v0/logs/file", query, seconds=STREAM_SECONDS, stream=True)
        try:
            if answer.status_code != 200:
                raise ClusterError(
                    f"{self.url}: no file {name} in the logs of node {node}: {printable(answer.text[:200])}"
                )
            yield from answer.iter_content(CHUNK)
        except requests.RequestException as error:
            raise ClusterError(
                f"{self.url}: the connection broke while {name} was read: {error}. Try again."
            ) from error
        finally:
            answer.close()

    def _alive(self) -> list[dict[str, Any]]:
        listed = self._json("/api/v0/nodes", {"limit": "10000"})["data"]["result"]["result"]
        return [node for node in listed if node["state"] == "ALIVE"]

    def _json(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        answer = self._get(path, query or {})
        if answer.status_code != 200:
            raise ClusterError(
                f"{self.url}{path}: HTTP {answer.status_code}: {printable(answer.text[:200])}. Is the head well?"
            )
        return cast("dict[str, Any]", answer.json())

    def _get(
        self, path: str, query: Mapping[str, str], *, seconds: float = ANSWER_SECONDS, stream: bool = False
    ) -> Response:
        return _request(f"{self.url}{path}", self.headers, query, self.run_by, seconds=seconds, stream=stream)


def open_dashboard(url: str, *, allow_unauthenticated: bool = False, run_by: str | None = None) -> Dashboard:
    """Opens the dashboard at `url` (from `dashboard_url`): without a token, then with ours if one is required.

    Args:
        allow_unauthenticated: accept another machine's dashboard that requires no token.
        run_by: the account that may listen at an address of this machine, beside this one and root.

    Raises:
        ClusterError: nothing answers, it is no Ray or another version than ours, it refuses our token, requires one
            that is missing, or accepts everybody; or another account listens there, or a proxy would read the token.
    """
    host = urlsplit(url).hostname or ""
    answer = _request(f"{url}/api/version", {}, {}, run_by, seconds=ANSWER_SECONDS)
    if answer.status_code not in (401, 403):
        found = Dashboard(url, None, run_by)
        _refuse_other_versions(url, answer)
        if not allow_unauthenticated and not is_loopback(host):
            raise ClusterError(
                f"{url} asks for no token: whoever reaches it runs code on that cluster. Start it with a token "
                "(`tunefleet cluster start --head`), or, where the network is closed to everybody else, insist with "
                "--allow-unauthenticated (in a spec: cluster.allow_unauthenticated=true)."
            )
        return found
    token = own_token()
    if token is None:
        raise ClusterError(
            f"{url} wants a token and there is none. Put the cluster's own into RAY_AUTH_TOKEN, into the file that "
            "RAY_AUTH_TOKEN_PATH names, or into ~/.ray/auth_token (mode 0600)."
        )
    if url.startswith("http:") and not is_here(host):
        print(
            f"tunefleet: the token goes to {url} unencrypted: whoever listens on the way can use it. "
            "A tunnel (ssh -L 8265:localhost:8265 HEAD) or https:// hides it.",
            file=sys.stderr,
        )
    found = Dashboard(url, token, run_by)
    answer = _request(f"{url}/api/version", found.headers, {}, run_by, seconds=ANSWER_SECONDS)
    if answer.status_code in (401, 403):
        raise ClusterError(
            f"{url} refused the token that was found (RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token): "
            "it is another cluster's. Copy the token of this cluster's head."
        )
    _refuse_other_versions(url, answer)
    return found


def _refuse_other_versions(url: str, answer: Response) -> None:
    try:
        theirs = answer.json()["ray_version"]
    except (ValueError, KeyError, TypeError):
        where = answer.headers.get("Location")
        step = (
            f"It points to {printable(where)}: give that address."
            if where
            else f"The dashboard's port is {PORT} by default."
        )
        raise ClusterError(f"{url} answers (HTTP {answer.status_code}), but is no Ray dashboard. {step}") from None
    ours = version("ray")
    if theirs != ours:
        raise ClusterError(
            f"{url} runs Ray {theirs}, this machine Ray {ours}: a job would fail somewhere on its way. "
            f"Install the same here: pip install 'ray[default,tune]=={theirs}'"
        )


def _request(
    url: str,
    headers: Mapping[str, str],
    query: Mapping[str, str],
    run_by: str | None,
    *,
    seconds: float,
    stream: bool = False,
) -> Response:
    import requests

    try:
        return send_request("GET", url, headers, seconds=seconds, run_by=run_by, params=dict(query), stream=stream)
    except requests.Timeout as error:
        raise ClusterError(
            f"{server_of(url)} does not answer within {seconds:g} s. Is the head overloaded, or a firewall in between?"
        ) from error
    except requests.exceptions.SSLError as error:
        raise ClusterError(
            f"{server_of(url)}: its certificate is not trusted here: {error}. REQUESTS_CA_BUNDLE names your own "
            "authority."
        ) from error
    except requests.RequestException as error:
        raise ClusterError(
            f"no dashboard answers at {server_of(url)}. Check host and port ({PORT} by default), start the head with "
            "--dashboard-host, or open a tunnel: ssh -L 8265:localhost:8265 HEAD"
        ) from error


def _as_ray_node(node: Mapping[str, Any]) -> dict[str, Any]:
    """Converts an entry of the state API to the keys of `ray.nodes()`."""
    return {"NodeID": node["node_id"], "NodeManagerAddress": node["node_ip"], "Resources": node["resources_total"]}
