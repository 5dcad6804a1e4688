"""Offer TLS in front of a server that has none: `python tls.py PORT CERTIFICATE KEY LISTEN_PORT`.

The embedded Valkey is built without TLS. A process of its own decrypts in front of it, so that
nothing of this is paid by the client that is measured.
"""

import select
import socket
import ssl
import sys
import threading
from contextlib import suppress

_HOST = "127.0.0.1"
_CHUNK = 1 << 18
_RECORD = 1 << 14  # most that one read of TLS returns


def relay(accepted: socket.socket, context: ssl.SSLContext, port: int) -> None:
    """Pass on what one client and the server send, until either leaves."""
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with (
        suppress(OSError),  # the client refused the certificate, or either left
        context.wrap_socket(accepted, server_side=True) as client,
        socket.create_connection((_HOST, port)) as server,
    ):
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        readable = select.poll()
        readable.register(client, select.POLLIN)
        readable.register(server, select.POLLIN)
        of_client = client.fileno()
        while True:
            for descriptor, _ in readable.poll():
                data = client.recv(_RECORD) if descriptor == of_client else server.recv(_CHUNK)
                if not data:
                    return
                (server if descriptor == of_client else client).sendall(data)
                while descriptor == of_client and client.pending():
                    server.sendall(client.recv(_RECORD))


def main() -> None:
    """Serve until ended."""
    port, certificate, key, listen_port = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server((_HOST, int(listen_port))) as listener:
        while True:
            accepted, _ = listener.accept()
            arguments = (accepted, context, int(port))
            threading.Thread(target=relay, args=arguments, daemon=True).start()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
