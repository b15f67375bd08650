"""PORT: remove `natal:*` as a plain program with redis-py does it; the peer of `cachectl flush`."""

import sys

import redis

PAGE = 1000


def main() -> None:
    """Walk the keyspace and unlink what is found by the thousand."""
    client = redis.Redis(port=int(sys.argv[1]))
    found: list[bytes] = []
    for key in client.scan_iter(match="natal:*", count=PAGE):
        found.append(key)
        if len(found) == PAGE:
            client.unlink(*found)
            found.clear()
    if found:
        client.unlink(*found)


if __name__ == "__main__":
    main()
