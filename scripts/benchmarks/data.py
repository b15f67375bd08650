"""The entries that are written, the same every time, as files of each kind that is compared."""

import csv
import gzip
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple

from scripts.benchmarks.processes import expect
from tests.servers import ServerProcess, pack

SEED = 1990_05_17
TTL = 86400
SIGNS = ("Aries", "Taurus", "Gemini", "Cancer", "Leo", "Virgo")
SMALLEST = 64  # bytes: the head of every value


class Entry(NamedTuple):
    """A key and its value as JSON text, which is what the server shall hold."""

    key: str
    value: str


@dataclass(frozen=True)
class Load:
    """So many entries, the namespaces in turn, values of evenly spread sizes up to `largest` bytes.

    345 bytes make a line of JSON Lines 250 bytes long on the average.
    """

    count: int
    namespaces: tuple[str, ...] = ("natal",)
    largest: int = 345

    def __iter__(self) -> Iterator[Entry]:
        """Give the entries, the same ones each time."""
        random = Random(SEED)  # noqa: S311 - data, no secret
        for number in range(self.count):
            namespace = self.namespaces[number % len(self.namespaces)]
            yield Entry(f"{namespace}:{random.randbytes(8).hex()}", value(random, self.largest))


def value(random: Random, largest: int) -> str:
    """Return a chart as compact JSON of SMALLEST to `largest` bytes."""
    sign, longitude = SIGNS[int(random.random() * len(SIGNS))], random.random() * 360
    rest = random.randbytes(int(random.random() * (largest - SMALLEST)) // 2).hex()
    return f'{{"sun":{{"sign":"{sign}","longitude":{longitude:.6f}}},"rest":"{rest}"}}'


def write_jsonl(load: Load, path: Path) -> Path:
    """Write JSON Lines as `warm` reads them."""
    with path.open("w") as file:
        for key, text in load:
            file.write(f'{{"key":"{key}","value":{text},"ttl":{TTL}}}\n')
    return path


def write_gzip(source: Path, path: Path) -> Path:
    """Write a file's gzip, as `gzip` would with its default level."""
    with source.open("rb") as plain, gzip.open(path, "wb", compresslevel=6) as packed:
        shutil.copyfileobj(plain, packed, 1 << 20)
    return path


def write_csv(load: Load, path: Path) -> Path:
    """Write CSV with the header that `warm` wants."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("key", "value", "ttl"))
        table.writerows((key, text, TTL) for key, text in load)
    return path


def write_protocol(load: Load, path: Path) -> Path:
    """Write the commands that `redis-cli --pipe` sends as they are."""
    with path.open("wb") as file:
        for key, text in load:
            file.write(pack("SET", key, text, "PX", TTL * 1000))
    return path


def check_loaded(server: ServerProcess, load: Load) -> None:
    """Raise `RuntimeError` unless the server holds the entries, the first as it was written."""
    expect("keys", server.raw("DBSIZE"), load.count)
    first = next(iter(load))
    expect("value", server.raw("GET", first.key), first.value.encode())
    expect("has a TTL", 0 < server.raw("PTTL", first.key) <= TTL * 1000, wanted=True)
