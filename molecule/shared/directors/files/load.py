# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the client: requests at a steady pace, each on a connection of its own, and transfers side by side, one after the other.

    load ADDRESS PORT REQUESTS_A_SECOND TRANSFERS

It prints "ready" when all transfers are under way. The end of its input ends it, once what has begun is done; then it prints what
it saw as JSON, with times as the clock has them, which is one for all hosts of the lab.
"""

import asyncio
import contextlib
import hashlib
import json
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator

#: For an answer, and for the next bytes of a transfer.
PATIENCE, SILENCE = 5.0, 30.0
ADDRESS, PORT, PACE, TRANSFERS = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
SIZE = 80_000
# What /transfer is on every web server.
WANTED = hashlib.sha256(hashlib.shake_256(b"transfer").digest(SIZE)).digest()

#: When each began, the seconds to its answer or what came in place of one, and how often its first packet was lost.
requests: list[tuple[float, float | str, int]] = []
#: When each began and ended, what was wrong with it or nothing, and which server it came from.
transfers: list[tuple[float, float, str, str]] = []
#: How late the pace was at worst, and when: then this host stood still, and what it saw says little.
stalls: list[tuple[float, float]] = []
stopping = asyncio.Event()


def sent_again(writer: asyncio.StreamWriter) -> int:
    """How often the kernel has sent a packet of a connection again: while it is young, the first one (tcpi_total_retrans)."""
    information = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int(struct.unpack_from("=I", information, 100)[0])


@contextlib.asynccontextmanager
async def ask(path: str) -> AsyncIterator[tuple[asyncio.StreamReader, int]]:
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(ADDRESS, PORT)
    try:
        lost = sent_again(writer)
        writer.write(f"GET {path} HTTP/1.0\r\nHost: lab\r\n\r\n".encode())
        yield reader, lost
    finally:
        writer.transport.abort()


async def request() -> None:
    began, clock, lost = time.time(), time.monotonic(), 0
    try:
        async with asyncio.timeout(PATIENCE), ask("/") as (reader, lost):
            answer = await reader.read()
        word: float | str = time.monotonic() - clock if answer.startswith(b"HTTP/1.1 200 ") else repr(answer[:40])
    except (OSError, TimeoutError) as error:
        word = type(error).__name__
    requests.append((began, word, lost))


async def transfer(started: asyncio.Semaphore) -> None:
    """One after the other, for as long as the load lasts."""
    while not stopping.is_set():
        began, server = time.time(), ""
        try:
            async with ask("/transfer") as (reader, _lost):
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SILENCE)
                server = head.partition(b"X-Server: ")[2].split(b"\r\n")[0].decode()
                started.release()
                digest, size = hashlib.sha256(), 0
                while part := await asyncio.wait_for(reader.read(65536), SILENCE):
                    digest.update(part)
                    size += len(part)
            right = head.startswith(b"HTTP/1.1 200 ") and digest.digest() == WANTED
            word = "" if right else f"{size} bytes of {SIZE}, or others"
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            word = type(error).__name__
        transfers.append((began, time.time(), word, server))


async def main() -> None:
    loop = asyncio.get_running_loop()

    def end() -> None:
        loop.remove_reader(sys.stdin)
        stopping.set()

    # Whoever began it holds the other end, and may die.
    loop.add_reader(sys.stdin, end)
    started = asyncio.Semaphore(0)
    running = [asyncio.create_task(transfer(started)) for _ in range(TRANSFERS)]
    for _ in running:
        await started.acquire()
    print("ready", flush=True)
    due = time.monotonic()
    while not stopping.is_set():
        running.append(asyncio.create_task(request()))
        due += 1 / PACE
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), max(0.0, due - time.monotonic()))
        late = time.monotonic() - due
        if late > 0.1:
            stalls.append((time.time(), late))
            due = time.monotonic()
    await asyncio.gather(*running)
    print(json.dumps({"requests": requests, "transfers": transfers, "stalls": stalls}))


asyncio.run(main())
