"""Which of the ranks that somebody started by hand still live; torchrun's agent looks after its own.

Rank 0 holds a connection to every other rank. The kernel closes it when a process ends, however it ends, and keeps it
for one that is stopped, swapped out or busy for hours: no rank is lost for being slow. A machine that is gone does not
answer the kernel's keep-alives, and is lost within two minutes.
"""

import contextlib
import os
import secrets
import selectors
import socket
import sys
import threading
import time

JOINING = 600  # seconds that ranks wait for one that has not come
GRACE = 20  # seconds that a rank may wait for a dead one before it ends; gloo mostly notices at once
_BYE, _ALL_HERE, _TOLD = b".", b"+", b"-"


class Lost(RuntimeError):
    """A rank ended, or did not come. `spoken`: rank 0 says which."""

    def __init__(self, sentence, spoken=False):
        self.spoken = spoken
        super().__init__(sentence)


class Lifeline:
    """Meets the other ranks, then watches them until `close`.

    Args:
        store: the TCPStore that all ranks have.
        waiting: gives since when (`time.monotonic`) this rank waits for others, or None. A rank that waits for a dead
            one longer than `GRACE` says one sentence and ends: nothing can interrupt what it waits in.

    Raises:
        Lost: a rank ended while the others came, or did not come within `JOINING` seconds.
    """

    def __init__(self, store, rank, size, host, waiting):
        self.rank, self.waiting, self.fellows = rank, waiting, {}
        try:
            self._meet_all(store, size, host) if rank == 0 else self._meet_first(store, host)
        except BaseException:
            self._drop(_TOLD)
            raise
        self.end, self.ended = socket.socketpair()
        self.thread = threading.Thread(target=self._watch, daemon=True, name="freqkit-lifeline")
        self.thread.start()

    def close(self, well):
        """`well`: this rank has done its part, and the others need not miss it."""
        self.end.close()
        self.thread.join()
        self.ended.close()
        self._drop(_BYE if well else b"")

    def _drop(self, word):
        for fellow in self.fellows.values():
            with contextlib.suppress(OSError), fellow:  # it may have left already
                fellow.sendall(word)

    # ---- all come -------------------------------------------------------------------------------------------

    def _meet_all(self, store, size, host):
        token, until, strangers = secrets.token_hex(16), time.monotonic() + JOINING, set()
        family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        server = socket.create_server(("", 0), family=family, backlog=size + 64, dualstack_ipv6=both)
        with server, selectors.DefaultSelector() as ready:
            ready.register(server, selectors.EVENT_READ)
            store.set("lifeline", f"{server.getsockname()[1]}/{token}")
            try:
                while len(self.fellows) < size - 1:
                    found = ready.select(max(0, until - time.monotonic()))
                    if not found:
                        missing = [rank for rank in range(1, size) if rank not in self.fellows]
                        raise Lost(f"rank {missing[0]} of {size} has not come within {JOINING:g} seconds")
                    for key, _ in found:
                        if key.fileobj is server:
                            strangers.add(caller := server.accept()[0])
                            ready.register(caller, selectors.EVENT_READ)
                        elif key.fileobj in strangers:
                            strangers.discard(key.fileobj)
                            self._admit(key.fileobj, token, size)
                            if key.fileobj not in self.fellows.values():
                                ready.unregister(key.fileobj)
                                key.fileobj.close()
                        else:
                            rank = next(rank for rank, fellow in self.fellows.items() if fellow is key.fileobj)
                            raise Lost(f"rank {rank} of {size} ended before all had come")
                for fellow in self.fellows.values():
                    fellow.sendall(_ALL_HERE)
            finally:
                for stranger in strangers:
                    stranger.close()

    def _admit(self, caller, token, size):
        try:
            said, _, rank = caller.recv(64).decode("ascii", "replace").partition("/")
        except OSError:
            return
        if said == token and rank.isdigit() and 0 < int(rank) < size and int(rank) not in self.fellows:
            self.fellows[int(rank)] = _kept_alive(caller)

    def _meet_first(self, store, host):
        try:
            port, _, token = store.get("lifeline").decode().partition("/")
            first = socket.create_connection((host, int(port)), timeout=JOINING)
            self.fellows[0] = _kept_alive(first)
            first.sendall(f"{token}/{self.rank}".encode())
            first.settimeout(JOINING + 60)  # rank 0 knows who is missing, and speaks first
            here = first.recv(1)
            first.settimeout(None)
        except (OSError, RuntimeError) as error:
            raise Lost("rank 0 ended, or cannot be reached, before all had come") from error
        if here != _ALL_HERE:
            raise Lost("rank 0 ended before all had come", spoken=here == _TOLD)

    # ---- one leaves -----------------------------------------------------------------------------------------

    def _watch(self):
        with selectors.DefaultSelector() as ready:
            ready.register(self.ended, selectors.EVENT_READ)
            for rank, fellow in self.fellows.items():
                ready.register(fellow, selectors.EVENT_READ, rank)
            lost, since = None, 0.0
            while True:
                for key, _ in ready.select(None if lost is None else GRACE / 20):
                    if key.fileobj is self.ended:
                        return
                    ready.unregister(key.fileobj)
                    if _last_word(key.fileobj) != _BYE and lost is None:
                        lost, since = key.data, time.monotonic()
                waits = None if lost is None else self.waiting()
                if waits is not None and time.monotonic() - max(waits, since) > GRACE:
                    sys.stderr.write(
                        f"freqkit: rank {self.rank} lost rank {lost}, which failed or was killed; what was scored is "
                        "kept.\n"
                    )
                    sys.stderr.flush()
                    os._exit(1)


def _last_word(fellow):
    try:
        return fellow.recv(1)
    except OSError:
        return b""


def _kept_alive(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection
