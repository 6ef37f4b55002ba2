"""The way of an HTTP request to a dashboard: straight or through a proxy, and what is kept from whoever stands there.

`requests` obeys `http_proxy` for loopback too, and sends a login of ~/.netrc in place of a token. So nothing of the
environment is left to it: a request to this machine goes straight, one elsewhere through the proxy that the environment
names unless `no_proxy` has the host, and the token never to a proxy in clear text.
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
PROXY_STATUSES = (403, 407, 502, 503, 504)  # statuses with which a proxy answers in place of the host
RUN_BY = "say so with --run-by NAME"


@dataclass(frozen=True)
class Proxy:
    """A proxy that the environment names."""

    url: str  # as it is there, a password included
    source: str  # the variable

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"the proxy {parts.scheme}://{parts.netloc.rpartition('@')[2]} ({self.source})"


def proxy_for(url: str) -> Proxy | None:
    """The proxy on the way to `url`; None: straight, as to every address of this machine."""
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
    """The proxy that a request with these headers takes, once nobody on the way gets what is not theirs.

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
    """Send one request; redirects are not followed, as they could lead the token elsewhere.

    Args:
        seconds: without an answer, or without a further piece of one.
        more: of `requests.request`: params, data, json, stream.

    Raises:
        ClusterError: it is not safe to ask, or a proxy answers in place of the host.
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
    """`text` without the signs that a terminal obeys, as a server's words are shown; lines stay lines."""
    return "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)


def certificate_authorities(url: str) -> str | bool:
    """The certificate authorities to believe: a file or folder that the environment names; True: the public ones."""
    named = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    return named if named and url.startswith("https:") else True


def server_of(url: str) -> str:
    """Scheme, host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _innermost(error: BaseException) -> str:
    """The reason alone: `requests` wraps it into three texts, one in another."""
    while (inner := getattr(error, "reason", None) or error.__context__) is not None and inner is not error:
        error = inner
    return str(error)


def _proxy_error(url: str, proxy: Proxy | None, reason: str) -> ClusterError:
    host = urlsplit(url).hostname
    return ClusterError(
        f"{server_of(url)} was not reached: {proxy} stands in the way: {reason}. Put {host} into no_proxy if it is "
        "reached without, or open a tunnel to the head (ssh -L 8265:localhost:8265 HEAD)."
    )
