"""URLs of servers: an address whose text leads back to it, or an error that shows no password."""

from random import Random
from typing import Final, NamedTuple

from cachectl.config.url import Address, ParsedUrl, parse_url, same_server
from cachectl.errors import ConfigError
from scripts.fuzzing.junk import CANARY, TOKENS, damaged, demand, hidden

_SCHEMES: Final = (
    "redis", "rediss", "valkey", "valkeys", "REDIS", "unix", "redis+unix", "redis+socket",
    "valkey+unix", "embedded", "redis+sentinel", "rediss+sentinel", "valkey+sentinel",
    "redis+cluster", "rediss+cluster", "valkeys+cluster", "http", "",
)  # fmt: skip
_USERS: Final = (
    "", "", f"u:{CANARY}@", f":{CANARY}@", f"u:%41{CANARY}%2F@", f"u:{CANARY}#x@", f"u:{CANARY}/x@",
    f"u:{CANARY}?x@", f"u:a@{CANARY}@", f"u:{CANARY}:1@", f"u:[{CANARY}]@", f"u:{CANARY}%zz@",
    f"{CANARY},a@",
)  # fmt: skip
_HOSTS: Final = (
    "h", "cache.example.", "127.0.0.1", "127.1", "[::1]", "[fe80::a:1]", "[::ffff:1.2.3.4]",
    "b\xfccher", "1\xb2", "h:1", "h:65536", "[::1]:7", "h:", "a:1,b:2", "a,b,c:26379",
    "[::1]:1,[::2]", "a,,b", ",", "",
)  # fmt: skip
_TAILS: Final = (
    "", "/", "/0", "/15", "/1.0", "/-1", "/mymaster", "/mymaster/2", "/my%2Fmaster/0", "/a/b/c",
    "?db=1", "/run/a.sock", "/run/a.sock?db=3", "//run/a", "/%2Frun/a", "/a%20", "/a%C2%A0",
    "/a%0Ab", "/a%00", "/%40%3F%23", "?timeout=1", "#x", "/x?db=1&x=2", "/data/dir", "?service=m",
    "relative/a.sock",
)  # fmt: skip
_RIGHT: Final = (
    "redis://USERh:1/2", "valkeys://USER[fe80::a:1]", "rediss+sentinel://USERa:1,[::1]/my.master/3",
    "embedded:/data/a", "valkey+cluster://USERa,b:7/0", "redis+cluster://USERH",
    "unix://USER/run/a.sock?db=3", "unix:run/a%C2%A0", "embedded:",
)  # fmt: skip
_TOKENS: Final = (
    *TOKENS,
    b"//",
    b"/",
    b"?",
    b"@",
    b"::",
    b"[",
    b",",
    b"%2F",
    b"%40",
    b"%E3%80%80",
    b" ",
)


class Given(NamedTuple):
    """The bytes of an argument, which become text as Python makes it."""

    data: bytes


def make(random: Random) -> Given:
    """Return a URL, right or not."""
    draw = random.choice
    scheme, user, host, tail = draw(_SCHEMES), draw(_USERS), draw(_HOSTS), draw(_TAILS)
    right = draw(_RIGHT).replace("USER", user)
    text = draw(
        [
            right,
            right,
            f"{scheme}:{tail}",
            f"{scheme}://{host}{tail}",
            f"{scheme}://{user}{host}{tail}",
        ]
    )
    return Given(damaged(text.encode(), random, _TOKENS))


def judge(given: Given) -> bool:
    """Parse it."""
    text = given.data.decode("utf-8", "surrogateescape")
    try:
        parsed = parse_url(text)
    except ConfigError as error:
        hidden(error.message, error.hint)
        demand(f"{error.message}{error.hint or ''}".isprintable(), "an error is more than a line")
        return False
    address = parsed.address
    again = _read_again(address)
    demand(again == (address, None, None), f"the text of {address!r} leads to {again!r}")
    demand(same_server(address, address), f"{address!r} is not the server that it is")
    if parsed.password is not None:
        demand(parsed.password.reveal() not in repr(parsed.password), "the password shows")
    return True


def _read_again(address: Address) -> ParsedUrl | ConfigError:
    try:
        return parse_url(address.text)
    except ConfigError as error:
        return error
