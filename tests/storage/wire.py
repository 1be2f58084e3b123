"""A connection to a PostgreSQL server that a test can cut."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

GUARD_S = 20.0


class Wire:
    """A way to the server that can be cut so that only the client notices, as a network may."""

    def __init__(self, folder: Path, server: Path) -> None:
        self._server = str(server)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / server.name))
        self._listener.listen()
        self._swallows = False
        self._sockets: list[tuple[socket.socket, socket.socket]] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                self._sockets.append((client, server))
                for way in ((client, server), (server, client)):
                    self._threads.append(threading.Thread(target=self._pass_on, args=way))
                    self._threads[-1].start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while some := one.recv(65536):
                if not self._swallows:
                    other.sendall(some)
        if (other, one) in self._sockets:  # the server has ended it, and the client learns of that
            with suppress(OSError):
                other.shutdown(socket.SHUT_RDWR)

    def swallow(self) -> None:
        """From now on nothing arrives, and nobody is told."""
        self._swallows = True

    def cut(self) -> None:
        """To the client the connection is lost; the server goes on waiting."""
        for client, _ in self._sockets:
            client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(GUARD_S)
        for pair in self._sockets:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(GUARD_S)
            assert not thread.is_alive()
        for end in [self._listener, *(end for pair in self._sockets for end in pair)]:
            end.close()
