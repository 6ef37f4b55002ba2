"""Ray's client of the Jobs API, whose requests a subclass sends itself.

Ray has no option for proxies, logins and certificates of these requests. Read against ray 2.60:
`SubmissionClient._do_request` is what all of its HTTP goes through, with `_address` and `_headers`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from ray.job_submission import JobSubmissionClient

if TYPE_CHECKING:
    from requests import Response


class RequestingClient(JobSubmissionClient, ABC):  # type: ignore[misc]
    """Calls `send` for each request of Ray's client."""

    @abstractmethod
    def send(self, method: str, url: str, *, data: bytes | None, json: Any, **options: Any) -> Response:
        """Sends one request with `headers`, and returns the answer to it.

        Args:
            method: of HTTP.
            url: the whole one, with the dashboard's address.
            data: the body; None without one.
            json: the body as an object, instead of `data`.
            options: further ones of `requests.request`.
        """

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every request, the one with the token among them."""
        return dict(self._headers)

    def _do_request(
        self, method: str, endpoint: str, *, data: bytes | None = None, json_data: Any = None, **options: Any
    ) -> Response:
        return self.send(method, self._address + endpoint, data=data, json=json_data, **options)
