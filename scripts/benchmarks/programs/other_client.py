"""PORT FILE: GETs 1,000 times a second on a fixed grid; at SIGTERM FILE holds what each one felt.

The pairs of doubles are the second (perf_counter, the same clock in all processes) in which a GET was
due, and the seconds from then to its answer. A GET is sent when it is due, whether or not earlier ones
are answered: a standstill is felt by all that fall into it (no coordinated omission), and a slow
server is not blamed for a queue of this client's own.
"""

import ctypes
import gc
import signal
import socket
import sys
from array import array
from collections import deque
from pathlib import Path
from select import select
from time import perf_counter

PERIOD = 0.001
KEYS = 1000
PR_SET_TIMERSLACK = 29


def main() -> None:
    """Say `ready` when the first answer has come, and go on until SIGTERM."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1)  # wake up on time, not 50 us later
    gc.disable()
    server = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    commands = [f"GET probe:{number}\r\n".encode() for number in range(KEYS)]
    felt = ask(server, commands, answer_size(server, commands[0]), ended)
    Path(sys.argv[2]).write_bytes(felt.tobytes())


def ask(
    server: socket.socket, commands: list[bytes], size: int, ended: list[int]
) -> "array[float]":
    """Return when each GET was due and what it felt; all answers are of one size, in order."""
    print("ready", flush=True)
    felt: array[float] = array("d")
    waiting: deque[float] = deque()
    due, received, sent = perf_counter(), 0, 0
    while not ended:
        pause = due - perf_counter()
        if pause <= 0:
            server.sendall(commands[sent % KEYS])
            waiting.append(due)
            due += PERIOD
            sent += 1
        elif select([server], [], [], pause)[0]:
            received += arrived(server)
            now = perf_counter()
            while received >= size:
                received -= size
                begun = waiting.popleft()
                felt.extend((begun, now - begun))
    return felt


def arrived(server: socket.socket) -> int:
    """Return how many bytes have come; raise `RuntimeError` at the end of the connection."""
    count = len(server.recv(65536))
    if not count:
        msg = "the server has closed the connection"
        raise RuntimeError(msg)
    return count


def answer_size(server: socket.socket, command: bytes) -> int:
    """Return the size of an answer; all values are of one size."""
    server.sendall(command)
    found = server.recv(65536)
    if not found.startswith(b"$") or found.startswith(b"$-1"):
        msg = f"no value: {found!r}"
        raise RuntimeError(msg)
    return len(found)


if __name__ == "__main__":
    main()
