"""A WebSocket client that keeps to no rule: it sends the bytes that a test writes."""

import base64
import os
import secrets
import socket
import zlib
from pathlib import Path

TEXT, CONTINUED = 0x1, 0x0
_FIN, _COMPRESSED, _MASKED = 0x80, 0x40, 0x80
MIB = 1 << 20


def frame(payload, *, kind=TEXT, final=True, compressed=False, size=None):
    """Return a frame; its head may announce another ``size``. The mask is zero."""
    size = len(payload) if size is None else size
    head = bytes([kind | _FIN * final | _COMPRESSED * compressed])
    if size < 126:
        head += bytes([_MASKED | size])
    elif size < 1 << 16:
        head += bytes([_MASKED | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([_MASKED | 127]) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


def inflating(size):
    """Return a frame of a text that has ``size`` characters when it is inflated."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -12)
    payload = deflate.compress(b" " * size) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return frame(payload.removesuffix(b"\x00\x00\xff\xff"), compressed=True)


class RawSocket:
    """An open connection; ``answer`` is the head of the server's answer."""

    def __init__(self, served, path, **headers):
        self._socket = socket.create_connection(("127.0.0.1", served.port), timeout=60)
        sent = {
            "Host": f"127.0.0.1:{served.port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(secrets.token_bytes(16)).decode(),
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self.answer = b""
        while b"\r\n\r\n" not in self.answer:
            received = self._socket.recv(4096)
            if not received:
                break
            self.answer += received

    @property
    def inflates(self):
        """Whether the server agreed to compression."""
        return b"permessage-deflate" in self.answer.lower()

    def send(self, data):
        """Send as much as the server takes within a moment; it may close or stop to read."""
        self._socket.settimeout(0.5)
        try:
            self._socket.sendall(data)
        except OSError:
            return False
        return True

    def read_to_end(self, seconds=20):
        """Return what the server sends until it closes, or is silent for so long."""
        received = b""
        self._socket.settimeout(seconds)
        try:
            while data := self._socket.recv(1 << 16):
                received += data
        except OSError:
            pass
        return received

    def close(self):
        self._socket.close()


def processes(pid):
    """Return the process and its children."""
    found = {pid}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            stat = (path / "stat").read_text()
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) in found:
            found.add(int(path.name))
    return found


class Memory:
    """The memory of a server's processes, and how much it has grown at most."""

    def __init__(self, served):
        self._pids = processes(served.pid)
        for pid in self._pids:
            # The peak is measured from now on.
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        self._before = self._total("VmRSS")

    def _total(self, name):
        found = 0
        for pid in self._pids:
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(f"{name}:"):
                    found += int(line.split()[1]) * 1024
        return found

    @property
    def growth(self):
        """Bytes of the peak above what was used before."""
        return self._total("VmHWM") - self._before


def descriptors(pid):
    return sum(len(os.listdir(f"/proc/{each}/fd")) for each in processes(pid))
