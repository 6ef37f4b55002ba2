"""Ray's client of the Jobs API, with our own choice of proxies, logins and certificates.

Ray's own client leaves these to `requests` and the environment; here every request uses `cluster.jobs.route`.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.exceptions import AuthenticationError

from cluster.jobs.route import certificate_authorities, check_route, send_request
from cluster.ray_compat.job_client import RequestingClient

if TYPE_CHECKING:
    from requests import Response

SECONDS = 60.0  # between two pieces of an upload or of an answer


class JobClient(RequestingClient):
    """Ray's client, whose requests use `cluster.jobs.route`.

    Args:
        url: of the dashboard.
        headers: of every request.
        run_by: the account that may answer on this machine, beside this one and root.
    """

    def __init__(self, url: str, headers: dict[str, str], run_by: str | None) -> None:
        self._run_by = run_by
        super().__init__(url, headers=dict(headers), verify=certificate_authorities(url))

    def send(self, method: str, url: str, *, data: bytes | None, json: Any, **options: Any) -> Response:
        """Sends one request.

        Raises:
            ClusterError: the token would be sent to a stranger.
            AuthenticationError: the token was refused.
        """
        answer = send_request(
            method, url, self.headers, seconds=SECONDS, run_by=self._run_by, data=data, json=json, **options
        )
        if answer.status_code in (401, 403):
            raise AuthenticationError(f"HTTP {answer.status_code}: {answer.text[:200]}")
        return answer

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        """Yields what the job's driver prints, from its first line, until it ends.

        Raises:
            ClusterError: the token would be sent to a stranger.
            aiohttp.ClientError, RuntimeError: the connection broke.
        """
        import aiohttp

        proxy = check_route(self.get_address(), self.headers, self._run_by)
        async with aiohttp.ClientSession() as session:  # its own headers would go to the proxy as well
            socket = await session.ws_connect(
                f"{self.get_address()}/api/jobs/{job_id}/logs/tail",
                headers=self.headers,
                ssl=_context(certificate_authorities(self.get_address())),
                proxy=None if proxy is None else proxy.url,
            )
            async for message in socket:
                if message.type == aiohttp.WSMsgType.TEXT:
                    yield message.data
            if socket.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE:
                raise RuntimeError(f"the connection closed with code {socket.close_code}")


def _context(authority: str | bool) -> ssl.SSLContext | bool:
    """Converts certificate authorities to the form that `aiohttp` expects."""
    if isinstance(authority, bool):
        return authority
    folder = Path(authority).is_dir()
    return ssl.create_default_context(cafile=None if folder else authority, capath=authority if folder else None)
