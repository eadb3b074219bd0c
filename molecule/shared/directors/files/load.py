# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the client: requests at a steady pace, each on a connection of its own, and transfers side by side, one after the other.

    load ADDRESS PORT REQUESTS_A_SECOND TRANSFERS

It prints "ready" when all transfers are under way. SIGTERM ends it, once what has begun is done; then it prints what it saw as
JSON, with times as the clock has them, which is one for all hosts of the lab.
"""

import asyncio
import contextlib
import hashlib
import json
import signal
import sys
import time
from collections.abc import AsyncIterator

#: For an answer, and for the next bytes of a transfer.
PATIENCE, SILENCE = 5.0, 30.0
ADDRESS, PORT, PACE, TRANSFERS = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
SIZE = 160_000
# What /transfer is on every web server.
WANTED = hashlib.sha256(hashlib.shake_256(b"transfer").digest(SIZE)).digest()

#: When each began, and the seconds to its answer or what came in place of one.
requests: list[tuple[float, float | str]] = []
transfers: list[tuple[float, float, str]] = []
#: How late the pace was at worst, and when: then this host stood still, and what it saw says little.
stalls: list[tuple[float, float]] = []
stopping = asyncio.Event()


@contextlib.asynccontextmanager
async def ask(path: str) -> AsyncIterator[asyncio.StreamReader]:
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(ADDRESS, PORT)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: lab\r\n\r\n".encode())
        yield reader
    finally:
        writer.transport.abort()


async def request() -> None:
    began, clock = time.time(), time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE), ask("/") as reader:
            answer = await reader.read()
        word: float | str = time.monotonic() - clock if answer.startswith(b"HTTP/1.1 200 ") else repr(answer[:40])
    except (OSError, TimeoutError) as error:
        word = type(error).__name__
    requests.append((began, word))


async def transfer(started: asyncio.Semaphore) -> None:
    """One after the other, for as long as the load lasts."""
    while not stopping.is_set():
        began = time.time()
        try:
            async with ask("/transfer") as reader:
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SILENCE)
                started.release()
                digest, size = hashlib.sha256(), 0
                while part := await asyncio.wait_for(reader.read(65536), SILENCE):
                    digest.update(part)
                    size += len(part)
            right = head.startswith(b"HTTP/1.1 200 ") and digest.digest() == WANTED
            word = "" if right else f"{size} bytes of {SIZE}, or others"
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            word = type(error).__name__
        transfers.append((began, time.time(), word))


async def main() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
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
