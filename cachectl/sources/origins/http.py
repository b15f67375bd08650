"""A service that is asked over HTTP: it computes a value, or fills its own cache by being asked."""

import asyncio
from collections import Counter
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time

import aiohttp
from yarl import URL

from cachectl.config.settings import Origin
from cachectl.models import Request
from cachectl.sources.origins.address import host_of, url_of
from cachectl.sources.origins.failure import Failure, OriginError
from cachectl.sources.origins.local import too_long
from cachectl.units import format_size
from cachectl.values import check_json, safe

REDIRECTS = 5
CHUNK = 65536
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
"""Statuses that may be others a moment later."""
_OF_REQUEST = {400, 404, 405, 406, 410, 413, 414, 422, 431}
"""Statuses by which a healthy service answers what it does not have, or cannot take."""
_MOVED = {301, 302, 303, 307, 308}


class HttpOrigin:
    """Asks for each request once; `statuses` counts what was answered, redirects left out.

    TLS is verified. Cookies are not kept, proxies of the environment not used, and no other host is
    asked than the service's own and `hosts`.
    """

    def __init__(self, settings: Origin) -> None:
        """Connect to nothing yet."""
        self.statuses: Counter[int] = Counter()
        self._settings = settings
        self._hosts = {host_of(URL(settings.http or "")), *settings.hosts}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=settings.concurrency),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            headers={"Accept": "application/json, */*;q=0.5", "User-Agent": "cachectl"},
        )

    async def compute(self, request: Request) -> bytes:
        """Return the body as the service gave it, JSON; of one that fills its own cache, the status.

        Raises `OriginError`.
        """
        url = url_of(self._settings, request)
        try:
            async with asyncio.timeout(self._settings.timeout):
                return await self._asked(url)
        except TimeoutError:
            raise OriginError(too_long(self._settings.timeout)) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise OriginError(_of(error)) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _asked(self, url: URL) -> bytes:
        for _ in range(REDIRECTS + 1):
            async with self._session.get(url, allow_redirects=False) as response:
                if response.status not in _MOVED:
                    self.statuses[response.status] += 1
                    return await self._taken(response)
                url = self._next(url, response)
        raise OriginError(Failure(f"the service redirects more than {REDIRECTS} times"))

    def _next(self, url: URL, response: aiohttp.ClientResponse) -> URL:
        """Return where a redirect leads, if it may."""
        there = url.join(URL(response.headers.get("Location", "")))
        if there.scheme not in {"http", "https"} or not there.host:
            raise OriginError(Failure("the service redirects to what is no URL of HTTP"))
        if host_of(there) not in self._hosts:
            host = safe(host_of(there))
            msg = f"the service redirects to host {host}, which is not among the origin's hosts"
            raise OriginError(Failure(msg))
        if url.scheme == "https" and there.scheme == "http":
            raise OriginError(Failure("the service redirects from https to http"))
        return there.with_user(None)

    async def _taken(self, response: aiohttp.ClientResponse) -> bytes:
        if self._settings.fills == "application":
            if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
                raise OriginError(_refused(response))
            await self._read(response)
            return str(response.status).encode()
        if response.status != HTTPStatus.OK:
            raise OriginError(_refused(response))
        kind = response.content_type
        if kind != "application/json" and not kind.endswith("+json"):
            msg = f"the origin answered {safe(kind)[:100]}, which is not JSON"
            raise OriginError(Failure(msg))
        body = await self._read(response)
        if body is None:
            msg = f"the answer is larger than {format_size(self._settings.max_size)}"
            raise OriginError(Failure(msg, of_request=True))
        try:
            check_json(body)
        except ValueError as error:
            raise OriginError(Failure(f"the answer is not JSON: {error}")) from None
        return body

    async def _read(self, response: aiohttp.ClientResponse) -> bytes | None:
        """Return the body, unpacked; None, and the rest is not read, if it is larger than may be."""
        body, most = bytearray(), self._settings.max_size
        async for chunk in response.content.iter_chunked(CHUNK):
            body += chunk
            if len(body) > most:
                response.close()
                return None
        return bytes(body)


def _refused(response: aiohttp.ClientResponse) -> Failure:
    status = response.status
    return Failure(
        f"the origin answered {status}", status in _AGAIN, status in _OF_REQUEST, _wait(response)
    )


def _wait(response: aiohttp.ClientResponse) -> float | None:
    """Return the seconds that Retry-After asks for: as a number, or until a date (RFC 9110, 10.2.3)."""
    text = response.headers.get("Retry-After", "").strip()
    if response.status not in _AGAIN or not text:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(parsedate_to_datetime(text).timestamp() - time(), 0.0)
    except (ValueError, OverflowError):
        return None


def _of(error: Exception) -> Failure:
    """Return what an exception of the library means; the most specific come first."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        cause = error.__cause__ or getattr(error, "certificate_error", error)
        reason = getattr(cause, "verify_message", "") or "TLS failed"
        return Failure(f"the origin's certificate is not accepted: {safe(reason)}")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Failure("the origin cannot be reached: its name is not found", again=True)
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = (error.strerror or "no connection").lower().partition(" [")[0]
        return Failure(f"the origin cannot be reached: {safe(reason)}", again=True)
    if isinstance(error, aiohttp.ClientPayloadError):
        return Failure("the origin's answer broke off, or cannot be unpacked", again=True)
    if isinstance(error, aiohttp.ServerConnectionError | OSError):
        return Failure("the origin broke the connection", again=True)
    return Failure(f"the origin's answer is not understood ({type(error).__name__})")
