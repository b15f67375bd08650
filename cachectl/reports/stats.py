"""Keys, memory and TTLs, of namespaces and of nodes."""

from dataclasses import dataclass, field

from cachectl.errors import CachectlError
from cachectl.models import Stopped


@dataclass(frozen=True, slots=True)
class TtlSpread:
    """How long the keys live that expire: `p50` and `p90` within 1 %, `shortest` and `longest` exact."""

    p50: float
    p90: float
    shortest: float
    longest: float


@dataclass(frozen=True, slots=True)
class LargeKey:
    """A key and its memory. `type` is None where it was not asked for, or not told (`unknown`)."""

    key: bytes
    size: int
    type: str | None = None
    unknown: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figures:
    """What `stats` tells of a set of keys; `ttl` is None when none of them expires.

    `size` and the memory in `largest` are bytes, as the server estimates them. `unknown` maps the
    figures that are not known, if only of some of the keys, to the reason.
    """

    keys: int
    size: int | None
    persistent: int | None
    ttl: TtlSpread | None
    largest: LargeKey | None
    unknown: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NamespaceFigures:
    """A namespace and its figures; None: keys outside of any namespace."""

    namespace: bytes | None
    figures: Figures


@dataclass(frozen=True, slots=True)
class NodeFigures:
    """What one node of a cluster has of the keys; `size` is None where that is not known of all."""

    node: str
    keys: int
    size: int | None


@dataclass(frozen=True, slots=True)
class StatsReport:
    """What is in a cache: all of it, by namespace, and the largest keys.

    `namespaces` and `largest` are the first of them, `found` is how many namespaces there are; None
    when there are more than are told apart. `passes` counts the walks over the keyspace: one that was
    broken off was begun anew. Once `stopped`, the figures are those of the keys that were met by then.
    `nodes` tells those of a cluster.
    """

    total: Figures
    namespaces: tuple[NamespaceFigures, ...]
    found: int | None
    largest: tuple[LargeKey, ...]
    passes: int
    seconds: float
    stopped: Stopped | None
    held_back_seconds: float = 0.0
    error: CachectlError | None = None
    nodes: tuple[NodeFigures, ...] = ()

    @property
    def rate(self) -> float:
        """Keys looked at a second."""
        return self.total.keys / self.seconds if self.seconds else 0.0

    @property
    def exit_code(self) -> int:
        """0 for the whole keyspace, 3 when the server was lost, 1 when it was stopped before."""
        if self.error is not None:
            return self.error.exit_code
        return 0 if self.stopped is None else 1
