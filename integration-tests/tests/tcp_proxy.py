"""A load balancer of a test's own, between browsers and the workers of an app."""

import socket
import threading
from contextlib import suppress


class Proxy:
    """Passes connections on to one port or another, as a load balancer does."""

    def __init__(self, ports):
        # Where the next connections go, one after the other.
        self.ports = list(ports)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._accepted = 0
        self._open = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self):
        self._socket.close()

    def move_to(self, *ports):
        """Break all connections; the next ones go to these ports."""
        self.ports = list(ports)
        for each in tuple(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        while True:
            try:
                browser, _ = self._socket.accept()
            except OSError:
                return
            port = self.ports[self._accepted % len(self.ports)]
            self._accepted += 1
            try:
                server = socket.create_connection(("127.0.0.1", port))
            except OSError:
                browser.close()
                continue
            threading.Thread(target=self._pass, args=(browser, server), daemon=True).start()

    def _pass(self, browser, server):
        with browser, server:
            self._open.add(browser)
            back = threading.Thread(target=self._pump, args=(server, browser), daemon=True)
            back.start()
            self._pump(browser, server)
            back.join()
            self._open.discard(browser)

    @staticmethod
    def _pump(source, sink):
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
