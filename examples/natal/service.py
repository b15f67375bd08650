"""Answer `GET /api/natal/chart?date=…&lat=…&lon=…` with a natal chart, cached or computed.

    python -m examples.natal.service --url redis://localhost:6379/0 --port 8080

The address that it listens on is the first line on stdout. A cache that is down costs speed, not
answers.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from cachectl import CacheClient, make_key

from .chart import Chart, chart, check

NAMESPACE: Final = "natal"
PATH: Final = "/api/natal/chart"
TTL: Final = 7 * 24 * 3600
"""Seconds that a chart is kept. It never changes: this only lets go of those nobody asks for."""

COMBINED: Final = '%a - - %t "%r" %s %b "%{Referer}i" "%{User-Agent}i"'
"""The format of an access log's lines, as aiohttp writes it."""

CACHE: Final = web.AppKey("cache", CacheClient)


def application(cache: CacheClient) -> web.Application:
    """Return the service on this cache, which stays the caller's to close."""
    app = web.Application()
    app[CACHE] = cache
    app.router.add_get(PATH, answer)
    return app


async def answer(request: web.Request) -> web.Response:
    """Answer one request: the chart and `X-Cache: hit` or `miss`, or 400 and `{"error": …}`."""
    try:
        date, lat, lon = _asked(request)
    except ValueError as error:
        return web.json_response({"error": str(error)}, status=400)
    computed = False

    async def compute() -> Chart:
        nonlocal computed
        computed = True
        # In a thread, so that other requests are answered meanwhile.
        return await asyncio.to_thread(chart, date, lat, lon)

    key = make_key(NAMESPACE, date=date, lat=lat, lon=lon)
    found = await request.app[CACHE].get_or_compute(key, compute, TTL)
    # A request that waited for another one's computation did not compute, and counts as a hit.
    return web.json_response(found, headers={"X-Cache": "miss" if computed else "hit"})


def _asked(request: web.Request) -> tuple[str, float, float]:
    """Return the query's date, latitude and longitude, checked; raise `ValueError` in one line."""
    missing = [name for name in ("date", "lat", "lon") if name not in request.query]
    if missing:
        msg = f"missing in the query: {', '.join(missing)}"
        raise ValueError(msg)
    date, lat, lon = request.query["date"], _number(request, "lat"), _number(request, "lon")
    # Checked before the cache is asked: what no chart exists for is no key.
    check(date, lat, lon)
    return date, lat, lon


def _number(request: web.Request, name: str) -> float:
    text = request.query[name]
    try:
        return float(text)
    except ValueError:
        msg = f"{name} must be a number of degrees, not {text[:40]!r}"
        raise ValueError(msg) from None


async def serve(url: str, host: str, port: int, log: str | None = None) -> None:
    """Serve until SIGINT or SIGTERM and print the address once it is bound; port 0: a free one.

    With `log`, what is asked for is appended to that file, in the combined format.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with CacheClient(url) as cache:
        runner = web.AppRunner(
            application(cache),
            access_log=None if log is None else _logger(log),
            access_log_format=COMBINED,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            bound, free = runner.addresses[0][:2]
            print(f"http://{f'[{bound}]' if ':' in bound else bound}:{free}", flush=True)
            await stop.wait()
        finally:
            await runner.cleanup()


def _logger(path: str) -> logging.Logger:
    """Return what writes lines into a file, as they are."""
    logger = logging.getLogger("natal.access")
    logger.addHandler(logging.FileHandler(path, encoding="utf-8"))
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service from the command line; 1 and a line on stderr if it cannot listen."""
    options = _parser().parse_args(arguments)
    try:
        asyncio.run(serve(options.url, options.host, options.port, options.access_log))
    except OSError as error:
        print(f"cannot listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m examples.natal.service", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    url = os.environ.get("CACHE_URL", "redis://localhost:6379/0")
    parser.add_argument(
        "--url", default=url, help="the cache (default: $CACHE_URL, else localhost)"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="where to listen (default: %(default)s)"
    )
    parser.add_argument(
        "--port", type=int, default=8080, help="0: a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--access-log", metavar="FILE", help="what was asked for, for warming (default: none)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
