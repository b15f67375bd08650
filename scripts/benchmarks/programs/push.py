"""PORT ROUNDS PAUSE: keep the server busy with loops of so many rounds, PAUSE seconds in between."""

import socket
import sys
from time import sleep

LOOP = "for i = 1, {} do end"


def main() -> None:
    """Ask one loop after the other, until ended."""
    server = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pause, script = float(sys.argv[3]), LOOP.format(sys.argv[2])
    command = f"*3\r\n$4\r\nEVAL\r\n${len(script)}\r\n{script}\r\n$1\r\n0\r\n".encode()
    while True:
        server.sendall(command)
        if not server.recv(100).startswith(b"$-1"):
            msg = "the server refuses the loop"
            raise RuntimeError(msg)
        sleep(pause)


if __name__ == "__main__":
    main()
