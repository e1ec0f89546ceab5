"""Ends every process of a run when one of them has ended before its work was done.

JAX itself notices a dead process by the heartbeat that is missing, and then aborts the others with
a stack of C++. Here each process holds a TCP connection to the first one. The operating system
closes it in the moment in which a process dies, and the others end with a line that says which.
"""

import contextlib
import json
import os
import secrets
import socket
import sys
import threading

_CONNECT_SECONDS = 10  # for each address of the first process; ours
_now = []  # the Watch of this process, once it has begun


def tell(line, status):
    """Tells the other processes, where there are any, that this one is about to end.

    Args:
      line: why; status: the exit status that they take too.
    """
    for watch in _now:
        watch.tell(line, status)


class Watch:
    """What one process knows of the others.

    Args:
      index, count: of the processes.
    """

    def __init__(self, index, count):
        self._name = f"process {index} of {count} ({socket.gethostname()}, pid {os.getpid()})"
        self._index, self._server, self._token = index, None, ""
        self._peers, self._lock, self._is_over = [], threading.Lock(), False

    def listen(self, host):
        """In the first process: opens a port.

        Args:
          host: under which the others know this machine, or "".

        Returns: where it is found, for `begin` of every process; JSON-able.
        """
        self._token = secrets.token_hex(16)  # a stranger must not be able to end the run
        is_dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if is_dual else socket.AF_INET
        self._server = socket.create_server(("", 0), family=family, dualstack_ipv6=is_dual)
        hosts = [name for name in (host, socket.gethostname(), _own_address()) if name]
        return {
            "hosts": hosts,
            "port": self._server.getsockname()[1],
            "token": self._token,
            "name": self._name,
        }

    def begin(self, first):
        """Watches from now on, in threads of its own.

        Args:
          first: what `listen` has returned in the first process.
        """
        _now[:] = [self]
        if self._server is not None:
            self._in_thread(self._accept)
            return
        connection = _connected(first["hosts"], first["port"])
        if connection is None:
            sys.stderr.write(
                f"note: {self._name}: port {first['port']} of {', '.join(first['hosts'])} is not"
                " reached; a process that dies is noticed by JAX alone, after its heartbeats\n"
            )
            return
        hello = {"token": first["token"], "name": self._name}
        connection.sendall((json.dumps(hello) + "\n").encode())
        self._peers.append(connection)
        self._in_thread(self._follow, connection, connection.makefile("rb"), first["name"])

    def tell(self, line, status):
        """Sends the reason for which this process is about to end to those that it knows."""
        self._send({"end": f"{self._name}: {line}", "status": status})
        self._is_over = True

    def end(self):
        """The work is done: from now on no process misses another."""
        self._is_over = True
        self._send({"bye": True})

    def close(self):
        """Closes the port; connections stay."""
        if self._server is not None:
            self._server.close()

    def _send(self, message):
        content = (json.dumps(message) + "\n").encode()
        for peer in list(self._peers):
            with contextlib.suppress(OSError):
                peer.sendall(content)

    def _in_thread(self, work, *arguments):
        threading.Thread(target=work, args=arguments, name="processes", daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:  # closed
                return
            connection.settimeout(_CONNECT_SECONDS)
            self._in_thread(self._greet, connection)

    def _greet(self, connection):
        lines = connection.makefile("rb")
        hello = _parsed(_line_of(lines))
        if hello.get("token") != self._token:
            connection.close()
            return
        connection.settimeout(None)
        self._peers.append(connection)
        self._follow(connection, lines, hello["name"])

    def _follow(self, connection, lines, name):
        """Reads what a process says until its connection is closed."""
        message = _parsed(_line_of(lines))
        if self._is_over or "bye" in message:
            return
        line = message.get(
            "end",
            f"{name} is gone; see what it has printed last, or whether it was"
            " killed. To go on, run the same commands again",
        )
        self._leave(line, message.get("status", 1))

    def _leave(self, line, status):
        with self._lock:  # held to the end: the first reason is the one that is told
            self._send({"end": line, "status": status})
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                os.write(2, f"error: {line}\n".encode())
            os._exit(status)


def _line_of(lines):
    try:
        return lines.readline()
    except OSError:  # reset: as good as closed
        return b""


def _parsed(line):
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _connected(hosts, port):
    for host in hosts:
        with contextlib.suppress(OSError):
            connection = socket.create_connection((host, port), timeout=_CONNECT_SECONDS)
            connection.settimeout(None)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return connection
    return None


def _own_address():
    """This machine's address in its network, or "". Nothing is sent."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # reserved for documentation: any address but a local one
        return probe.getsockname()[0]
    return ""
