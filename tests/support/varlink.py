"""A client of the control socket that sends exactly what a test says."""
import json
import socket

import server as support


class Wire:
    """Varlink by hand."""

    def __init__(self, server):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(support.DEADLINE)
        self.s.connect(str(server.data / "control"))
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.s.close()

    def send(self, method, more=False, **parameters):
        call = {"method": method if "." in method else f"org.pinion.Control.{method}"}
        if parameters:
            call["parameters"] = parameters
        if more:
            call["more"] = True
        self.s.sendall(json.dumps(call).encode() + b"\0")

    def reply(self):
        while b"\0" not in self.rest:
            got = self.s.recv(65536)
            if not got:
                raise EOFError
            self.rest += got
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **parameters):
        self.send(method, **parameters)
        return self.reply()
