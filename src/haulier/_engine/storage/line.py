"""``Line``: the connection to a PostgreSQL server, whose wait another thread can end.

A server that is frozen, or behind a network that drops everything, never answers, and the thread that asked it waits.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeAlias

import psycopg

__all__ = ["Connection", "Line"]

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]


class Line:
    """Keeps hold of the socket of a connection. ``cut`` may be called from any thread, everything else from one."""

    def __init__(self) -> None:
        self.is_cut = False
        self._lock = Lock()
        self._socket: socket.socket | None = None
        """A descriptor of our own for the socket of the connection: libpq closes its own at any time."""
        self._answers: SimpleQueue[Connection | BaseException] | None = None

    def dial(self, connect: Callable[[], Connection]) -> Connection:
        """Return what ``connect`` returns. It runs on a thread of its own, because its wait cannot be ended.

        Raises what ``connect`` raises, and ``OperationalError`` if the line was cut or there is no thread.
        """
        answers: SimpleQueue[Connection | BaseException] = SimpleQueue()

        def work() -> None:
            try:
                answer: Connection | BaseException = connect()
            except BaseException as error:
                answer = error
            with self._lock:
                if not self.is_cut:
                    answers.put(answer)
                elif not isinstance(answer, BaseException):
                    answer.close()

        with self._lock:
            self._answers = answers
            if self.is_cut:
                raise _given_up()
        try:
            Thread(target=work, name="haulier-connect", daemon=True).start()
        except RuntimeError as error:
            raise psycopg.OperationalError(f"cannot connect: {error}") from error
        answer = answers.get()
        self._answers = None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def hold(self, connection: Connection) -> None:
        """Watch over ``connection`` until ``let_go``. If the line was cut before, the connection breaks at once."""
        with self._lock:
            with suppress(OSError):  # too many open files: then the wait cannot be ended
                self._socket = socket.fromfd(connection.pgconn.socket, socket.AF_INET, socket.SOCK_STREAM)
            if self.is_cut:
                self._break()

    def let_go(self) -> None:
        """Close our own descriptor. Call it when the connection is closed: until then the server sees it open."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def cut(self) -> None:
        """End the wait for the server, now and for ever: it raises ``OperationalError``."""
        with self._lock:
            self.is_cut = True
            self._break()
            if self._answers is not None:
                self._answers.put(_given_up())

    def _break(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def _given_up() -> psycopg.OperationalError:
    return psycopg.OperationalError("gave up on a server that does not answer")
