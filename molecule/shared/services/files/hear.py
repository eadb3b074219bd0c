# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the web servers: writes down who sent a line to UDP port 514; tells its name, and the client's address, by SCTP port 7."""

import selectors
import socket

udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 514))
sctp = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
# By itself, SCTP tells the client all addresses of the host, which masquerading cannot hide: it is for hosts with one.
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
    way.connect(("198.51.100.11", 9))
    address = way.getsockname()[0]
sctp.bind((address, 7))
sctp.listen()
ready = selectors.DefaultSelector()
ready.register(udp, selectors.EVENT_READ)
ready.register(sctp, selectors.EVENT_READ)
with open("/var/log/hear", "a", encoding="utf-8", buffering=1) as log:
    while True:
        for key, _events in ready.select():
            if key.fileobj is udp:
                line, (address, port) = udp.recvfrom(2048)
                print(address, port, line.decode(), file=log)
            else:
                connection, (address, _port) = sctp.accept()
                with connection:
                    connection.sendall(f"{socket.gethostname()} {address}\n".encode())
