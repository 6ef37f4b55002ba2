"""Sends HTTP requests to a dashboard, directly or through a proxy, without exposing the token to the proxy.

`requests` obeys `http_proxy` for loopback, too, and replaces a token by a login of ~/.netrc. So it is not allowed to
read the environment. A request to this machine goes there directly. One to another machine uses the proxy that the
environment names, unless `no_proxy` lists the host; the token never reaches a proxy in clear text.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cluster.capacity import ClusterError
from cluster.nodes.listeners import is_here, refuse_strangers

if TYPE_CHECKING:
    from requests import Response

TOKEN_HEADER = "Authorization"
PROXY_STATUSES = (403, 407, 502, 503, 504)  # with which a proxy answers in place of the host
RUN_BY = "say so with --run-by NAME"


@dataclass(frozen=True)
class Proxy:
    """A proxy that the environment names."""

    url: str  # as the environment has it, including a password
    source: str  # the variable

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"the proxy {parts.scheme}://{parts.netloc.rpartition('@')[2]} ({self.source})"


def proxy_for(url: str) -> Proxy | None:
    """Returns the proxy for `url`; None for a direct connection, as to every address of this machine."""
    from urllib.request import getproxies

    from requests.utils import select_proxy, should_bypass_proxies

    parts = urlsplit(url)
    found = select_proxy(url, getproxies())
    if not found or should_bypass_proxies(url, no_proxy=None) or is_here(parts.hostname or ""):
        return None
    names = [f"{kind}_proxy" for kind in (parts.scheme, "all")]
    known = (name for name in (*names, *map(str.upper, names)) if os.environ.get(name))
    return Proxy(found if "://" in found else f"http://{found}", next(known, "of the system"))


def check_route(url: str, headers: Mapping[str, str], run_by: str | None) -> Proxy | None:
    """Checks that a request with these headers exposes the token to nobody, and returns its proxy.

    Args:
        run_by: the account that may answer on this machine, beside this one and root.

    Raises:
        ClusterError: another account listens there, or a proxy would read the token.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    refuse_strangers("--address", host, port, run_by=run_by, step=RUN_BY)
    proxy = proxy_for(url)
    if proxy is not None and parts.scheme == "http" and TOKEN_HEADER in headers:
        raise ClusterError(
            f"{server_of(url)}: the way there leads through {proxy}, which would read the cluster's token. Put {host} "
            "into no_proxy if it is reached without, give an https:// address, or open a tunnel "
            f"(ssh -L {port}:localhost:{port} HEAD)."
        )
    return proxy


def send_request(
    method: str,
    url: str,
    headers: Mapping[str, str],
    *,
    seconds: float,
    run_by: str | None = None,
    **more: Any,
) -> Response:
    """Sends one request; redirects are not followed, as they could lead the token elsewhere.

    Args:
        seconds: until an answer, or the next piece of one, must arrive.
        more: of `requests.request`: params, data, json, stream.

    Raises:
        ClusterError: the token would be exposed, or a proxy answers in place of the host.
        requests.RequestException: no answer.
    """
    import requests

    proxy = check_route(url, headers, run_by)
    ways = {} if proxy is None else {"http": proxy.url, "https": proxy.url}
    with requests.Session() as session:
        session.trust_env = False  # no proxy and no login that we have not chosen
        try:
            answer = session.request(
                method,
                url,
                headers=dict(headers),
                timeout=seconds,
                proxies=ways,
                verify=certificate_authorities(url),
                allow_redirects=False,
                **more,
            )
        except (requests.exceptions.ProxyError, requests.exceptions.InvalidSchema) as error:  # or one of a kind unknown
            raise _proxy_error(url, proxy, _innermost(error)) from error
    if proxy is not None and url.startswith("http:") and answer.status_code in PROXY_STATUSES:
        raise _proxy_error(url, proxy, f"it answers HTTP {answer.status_code} {answer.reason}")
    return answer


def printable(text: str) -> str:
    """Replaces control characters in a server's text, which a terminal would obey, by spaces; line breaks stay."""
    return "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)


def certificate_authorities(url: str) -> str | bool:
    """Returns the certificate authorities to trust: a file or folder that the environment names; True: public ones."""
    named = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    return named if named and url.startswith("https:") else True


def server_of(url: str) -> str:
    """Returns scheme, host and port of a URL, for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _innermost(error: BaseException) -> str:
    """Returns the innermost reason: `requests` wraps it into three nested texts."""
    while (inner := getattr(error, "reason", None) or error.__context__) is not None and inner is not error:
        error = inner
    return str(error)


def _proxy_error(url: str, proxy: Proxy | None, reason: str) -> ClusterError:
    host = urlsplit(url).hostname
    return ClusterError(
        f"{server_of(url)} was not reached: {proxy} stands in the way: {reason}. Put {host} into no_proxy if it is "
        "reached without, or open a tunnel to the head (ssh -L 8265:localhost:8265 HEAD)."
    )
