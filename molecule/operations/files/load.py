#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests and slow transfers through a virtual address, until told to end: ``load.py ADDRESS FOLDER``.

What it counted is in FOLDER/counts.json all the time. It ends when FOLDER/stop is there, or after LIFE seconds.
Every answer has to be complete, and right; what is not is a line of "faults".
"""

from __future__ import annotations

import json
import os
import pathlib
import socket
import sys
import threading
import time
import typing

#: Seconds. Whoever began it may have died.
LIFE = 1800
#: Requests on one connection. Emulated, a connection costs more than they do.
IN_A_ROW = 10
#: Connections at a time, each with a pause before it.
TALKERS, PAUSE = 2, 1.0
#: Transfers at a time, and what makes each of them last for 30 seconds.
LOADERS, SIZE, CHUNK, SECONDS = 3, 300_000, 10_000, 1.0
#: Seconds of patience: the machine is slow, and a lost connection is lost for good.
PATIENCE = 60


class Load:
    """What all threads do, and count."""

    def __init__(self, address: str, folder: pathlib.Path) -> None:
        self.address = address
        self.folder = folder
        self.lock = threading.Lock()
        self.requests = 0
        self.transfers = 0
        self.running = 0
        self.answered: dict[str, int] = {}
        self.faults: list[str] = []
        self.end = time.monotonic() + LIFE

    def goes_on(self) -> bool:
        return not (self.folder / "stop").exists() and time.monotonic() < self.end

    def fault(self, what: str, error: Exception) -> None:
        with self.lock:
            self.faults.append(f"{time.strftime('%T')} {what}: {error!r}")

    def connect(self, small: bool = False) -> socket.socket:
        made = socket.socket()
        if small:
            # What is not read stays on the server.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        made.settimeout(PATIENCE)
        made.connect((self.address, 80))
        return made

    def talk(self) -> None:
        while self.goes_on():
            try:
                with self.connect() as opened, opened.makefile("rb") as answers:
                    for number in range(IN_A_ROW):
                        last = b"Connection: close\r\n" if number == IN_A_ROW - 1 else b""
                        opened.sendall(b"GET / HTTP/1.1\r\nHost: lab\r\n%b\r\n" % last)
                        self.count(self.answer(answers))
            except (OSError, ValueError) as error:
                self.fault("request", error)
            time.sleep(PAUSE)

    @staticmethod
    def answer(answers: typing.BinaryIO) -> str:
        status = answers.readline()
        if not status.startswith(b"HTTP/1.1 200 "):
            raise ValueError(status)
        length = 0
        while (line := answers.readline()).strip():
            name, _colon, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = answers.read(length)
        if not body.startswith(b"web") or len(body) != length:
            raise ValueError(body)
        return body.decode().strip()

    def count(self, server: str) -> None:
        with self.lock:
            self.requests += 1
            self.answered[server] = self.answered.get(server, 0) + 1

    def load(self, number: int) -> None:
        # Not all at once.
        time.sleep(number * SIZE / CHUNK * SECONDS / LOADERS)
        while self.goes_on():
            with self.lock:
                self.running += 1
            try:
                with self.connect(small=True) as opened:
                    self.transfer(opened)
                with self.lock:
                    self.transfers += 1
            except (OSError, ValueError) as error:
                self.fault("transfer", error)
            with self.lock:
                self.running -= 1

    @staticmethod
    def transfer(opened: socket.socket) -> None:
        asked = f"GET /10M HTTP/1.1\r\nHost: lab\r\nRange: bytes=0-{SIZE - 1}\r\nConnection: close\r\n\r\n"
        opened.sendall(asked.encode())
        head, due = b"", time.monotonic()
        while b"\r\n\r\n" not in head:
            more = opened.recv(1024)
            if not more:
                raise ValueError(head)
            head += more
        head, _gap, body = head.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 206 "):
            raise ValueError(head)
        got = len(body)
        while more := opened.recv(min(CHUNK, 4096)):
            got += len(more)
            if got // CHUNK > (got - len(more)) // CHUNK:
                due += SECONDS
                time.sleep(max(0.0, due - time.monotonic()))
        if got != SIZE:
            raise ValueError(f"{got} of {SIZE} bytes")

    def write(self) -> None:
        with self.lock:
            counts = {
                "requests": self.requests,
                "transfers": self.transfers,
                "running": self.running,
                "answered": self.answered,
                "faults": self.faults,
            }
        new = self.folder / "counts.json.new"
        new.write_text(json.dumps(counts), encoding="utf-8")
        os.replace(new, self.folder / "counts.json")


def main(address: str, folder: pathlib.Path) -> None:
    load = Load(address, folder)
    threads = [threading.Thread(target=load.talk) for _ in range(TALKERS)]
    threads += [threading.Thread(target=load.load, args=(number,)) for number in range(LOADERS)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        load.write()
        time.sleep(1)
    load.write()
    (folder / "ended").touch()


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
