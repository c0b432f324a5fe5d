"""A client of PostgreSQL's protocol 3 that sends exactly what a test says and keeps every message that comes back. No library between test and socket."""
import contextlib
import socket
import struct

PROTOCOL = 0x00030000
SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
TIMEOUT = 60.0


def cstr(text):
    return text.encode() + b"\0"


def packet(code, body=b""):
    """A packet of the start-up phase: length, code, body."""
    return struct.pack("!II", 8 + len(body), code) + body


def startup_packet(params, code=PROTOCOL):
    return packet(code, b"".join(cstr(k) + cstr(v) for k, v in params.items()) + b"\0")


def message(kind, body=b""):
    return kind.encode() + struct.pack("!I", 4 + len(body)) + body


def fields(body):
    """The fields of an ErrorResponse or NoticeResponse by letter."""
    return {f[:1].decode(): f[1:].decode() for f in body.split(b"\0") if f}


def row(body):
    """The values of a DataRow: str or None."""
    n, at, values = struct.unpack_from("!H", body)[0], 2, []
    for _ in range(n):
        size = struct.unpack_from("!i", body, at)[0]
        at += 4
        values.append(None if size < 0 else body[at:at + size].decode(errors="surrogateescape"))
        at += max(size, 0)
    return tuple(values)


def columns(body):
    """(name, type oid, format) of each column of a RowDescription."""
    n, at, found = struct.unpack_from("!H", body)[0], 2, []
    for _ in range(n):
        end = body.index(b"\0", at)
        _, _, oid, _, _, fmt = struct.unpack_from("!IHIhiH", body, end + 1)
        found.append((body[at:end].decode(), oid, fmt))
        at = end + 1 + 18
    return found


class Reply:
    """All that came up to a ReadyForQuery (or the end of the connection)."""

    def __init__(self, messages):
        self.messages = messages
        self.kinds = "".join(k for k, _ in messages)
        self.rows = [row(b) for k, b in messages if k == "D"]
        self.tags = [b[:-1].decode() for k, b in messages if k == "C"]
        self.errors = [fields(b) for k, b in messages if k == "E"]
        self.notices = [fields(b) for k, b in messages if k == "N"]
        self.columns = [columns(b) for k, b in messages if k == "T"]
        self.status = next((b.decode() for k, b in messages if k == "Z"), None)

    @property
    def code(self):
        """SQLSTATE of the first error, None without one."""
        return self.errors[0]["C"] if self.errors else None

    @property
    def error(self):
        return self.errors[0]["M"] if self.errors else None

    def __repr__(self):
        return f"<{self.kinds} {self.tags} {self.rows[:5]} {self.errors} {self.status}>"


class Closed(Exception):
    """The server closed the connection; .reply has what came before."""

    def __init__(self, reply):
        super().__init__(f"connection closed after {reply}")
        self.reply = reply


class Wire:
    """One connection. Wire(server) connects; login() goes on to the first ReadyForQuery."""

    def __init__(self, server, tcp=False, timeout=TIMEOUT):
        if tcp:
            self.sock = socket.create_connection(("127.0.0.1", server.port), timeout)
        else:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(timeout)
            self.sock.connect(f"{server.data}/.s.PGSQL.{server.port}")
        self.parameters, self.key = {}, None

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- bytes

    def send(self, data):
        self.sock.sendall(data)

    def _read(self, n):
        data = b""
        while len(data) < n:
            try:
                more = self.sock.recv(n - len(data))
            except ConnectionResetError:
                more = b""
            if not more:
                raise EOFError(data)
            data += more
        return data

    def read_byte(self):
        """One bare byte: the answer to SSLRequest."""
        return self._read(1).decode()

    def read_message(self):
        """(type, body); EOFError at the end of the connection."""
        head = self._read(5)
        kind, size = head[:1].decode(), struct.unpack("!I", head[1:])[0]
        assert 4 <= size < 1 << 30, f"message {kind!r} of {size} bytes"
        body = self._read(size - 4)
        if kind == "S":
            name, value = body[:-1].decode().split("\0")
            self.parameters[name] = value
        elif kind == "K":
            self.key = struct.unpack("!II", body)
        return kind, body

    def read_to(self, last="Z"):
        """A Reply with all messages up to one of type `last`; Closed if the connection ends first."""
        found = []
        while not found or found[-1][0] != last:
            try:
                found.append(self.read_message())
            except EOFError:
                raise Closed(Reply(found)) from None
        return Reply(found)

    def read_end(self):
        """A Reply with all that comes before the server closes."""
        found = []
        while True:
            try:
                found.append(self.read_message())
            except EOFError:
                return Reply(found)

    def read_end_raw(self):
        """All bytes that come before the server closes."""
        data = b""
        try:
            while more := self.sock.recv(65536):
                data += more
        except ConnectionResetError:
            pass
        return data

    # ---- talk

    def login(self, user="postgres", database="postgres", **params):
        """Start-up to the first ReadyForQuery; returns self. Closed if refused, also before it could speak: what it was told is there to be read."""
        with contextlib.suppress(BrokenPipeError):
            self.send(startup_packet({"user": user, "database": database, **params}))
        self.greeting = self.read_to("Z")
        return self

    def query(self, text):
        self.send(message("Q", cstr(text)))
        return self.read_to("Z")

    def ok(self, text):
        """query() that must not fail."""
        r = self.query(text)
        assert not r.errors, f"{text}: {r.errors[0]}"
        return r

    def extended(self, text, params=(), name="", limit=0, describe=True, sync=True):
        """Parse, Bind, Describe, Execute (values in text form), and Sync with its Reply."""
        values = b"".join(struct.pack("!i", -1) if p is None else struct.pack("!i", len(str(p).encode())) + str(p).encode()
                          for p in params)
        data = message("P", cstr(name) + cstr(text) + struct.pack("!H", 0))
        data += message("B", cstr("") + cstr(name) + struct.pack("!HH", 0, len(params)) + values + struct.pack("!H", 0))
        if describe:
            data += message("D", b"P" + cstr(""))
        data += message("E", cstr("") + struct.pack("!I", limit))
        self.send(data + (message("S") if sync else b""))
        return self.read_to("Z") if sync else None

    def cancel(self, server, key=None):
        """A CancelRequest on a connection of its own; returns what the server answered to it (nothing)."""
        pid, secret = key or self.key
        with Wire(server) as w:
            w.send(packet(CANCEL_REQUEST, struct.pack("!II", pid, secret)))
            return w.read_end()


def connect(server, **params):
    """A logged-in Wire."""
    w = Wire(server)
    try:
        return w.login(**params)
    except Exception:
        w.close()
        raise
