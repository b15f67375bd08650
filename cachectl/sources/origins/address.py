"""What a service is asked for a request, and where it may send us on to."""

import json
import re
from string import ascii_letters, digits
from urllib.parse import quote

from yarl import URL

from cachectl.config.settings import Origin
from cachectl.keys import to_bytes
from cachectl.models import Request
from cachectl.sources.origins.failure import Failure, OriginError
from cachectl.sources.origins.path import NO_TARGET, PLACE, lacking, needs

_AS_IT_STANDS = ascii_letters + digits + "%/?:@!$&'()*+,;=-._~[]|^`{}\"<>\\"
"""What of a log's target is sent as it was asked: an application may cache by it."""


def url_of(settings: Origin, request: Request) -> URL:
    """Return what to ask for: the target of a log's line, else the origin's path with its parameters.

    Raises `OriginError` for a request that has neither, or whose target would leave the service.
    """
    base = URL(settings.http or "")
    if request.target is not None:
        path = quote(to_bytes(request.target), safe=_AS_IT_STANDS)
    elif settings.path:
        path = _filled(settings.path, request)
    else:
        raise OriginError(Failure(NO_TARGET, of_request=True))
    # Put together as text, never joined: `//other.host/` stays a path, `http://other.host/` fails.
    url = URL(f"{str(base).rstrip('/')}{path}", encoded=True) if path.startswith("/") else None
    if url is None or url.origin() != base.origin():
        msg = "the request's target is no path of the service"
        raise OriginError(Failure(msg, of_request=True))
    return url


def _filled(path: str, request: Request) -> str:
    params = request.params or {}

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name in params:
            given = params[name]
            text = given if isinstance(given, str) else json.dumps(given, separators=(",", ":"))
            return quote(text.encode("utf-8", "surrogatepass"), safe="")
        return quote(request.key, safe="")

    problem = lacking(needs(path), request)
    if problem is not None:
        raise OriginError(Failure(problem, of_request=True))
    return quote(PLACE.sub(value, path), safe=_AS_IT_STANDS)


def host_of(url: URL) -> str:
    """Return `host`, with its port unless that is the scheme's own."""
    return (url.host or "") if url.is_default_port() else f"{url.host}:{url.port}"
