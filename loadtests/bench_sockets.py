"""What a command and a delivery cost a socket server, and what a socket: `dev.py bench sockets`.

    python3 dev.py bench sockets [--seconds 10] [--sockets 5000] [--kinds stock/asyncio,engine/asyncio,engine/uvloop]

| figure       | how                                                                                               |
| ------------ | ------------------------------------------------------------------------------------------------- |
| per_command  | 50 rooms of two: one of each sends, waits for its ack, sends again; the other gets the event      |
| per_delivery | a room of 1,000: one sends, the others get it                                                     |
| per_socket   | memory of a fresh server with `--sockets` connections, over that without any                      |

All servers are measured in turn in one run; `stock` is python-socketio as it comes, the peer. CPU is the server
process's own, all threads. Times are those of the client: they include its own work, which shares the machine.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from loadtests.keeping import Latency, keep, percentile
from loadtests.machine import Goal, Result

KINDS = "stock/asyncio,engine/asyncio,engine/uvloop"
PAIRS = 50
ROOM = 1_000
OPENING_AT_ONCE = 100
WAIT_S = 60.0
SEEK = b'["seek",{"session_id":"6f1c2a4e-1f0b-4a57-9a3a-2f0a6b1f7c55","position":123.456}]'


class Client(WSListener):
    """One socket in a room. `asks`: it sends whenever it is answered, while `running`."""

    def __init__(self, room: str) -> None:
        self.room = room
        self.transport: WSTransport | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received = 0
        self.times_ms: list[float] = []
        self.running = False
        self._number = 0
        self._sent_s = 0.0

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        packet = frame.get_payload_as_bytes()
        if packet.startswith(b"42"):
            self.received += 1
        elif packet.startswith(b"43"):
            self.times_ms.append((time.perf_counter() - self._sent_s) * 1000)
            if self.running:
                self.send()
        elif packet.startswith(b"2"):
            transport.send(WSMsgType.TEXT, b"3")
        elif packet.startswith(b"0"):
            transport.send(WSMsgType.TEXT, f'40{{"room":"{self.room}"}}'.encode())
        elif packet.startswith(b"40"):
            self.ready.set_result(None)

    def send(self) -> None:
        assert self.transport is not None
        self._number += 1
        self._sent_s = time.perf_counter()
        self.transport.send(WSMsgType.TEXT, b"42%d%s" % (self._number, SEEK))

    def close(self) -> None:
        if self.transport is not None:
            self.transport.disconnect(graceful=False)


@dataclass
class Server:
    """One process, and its usage so far."""

    port: int
    http: aiohttp.ClientSession
    clients: list[Client] = field(default_factory=list)

    async def usage(self) -> tuple[float, int]:
        async with self.http.get(f"http://127.0.0.1:{self.port}/usage") as answer:
            used = await answer.json()
            return float(used["cpu_s"]), int(used["rss_bytes"])

    async def connect(self, rooms: list[str]) -> list[Client]:
        made: list[Client] = []
        for start in range(0, len(rooms), OPENING_AT_ONCE):
            batch = [Client(room) for room in rooms[start : start + OPENING_AT_ONCE]]
            await asyncio.gather(*(self._open(client) for client in batch))
            made += batch
        self.clients += made
        return made

    async def _open(self, client: Client) -> None:
        url = f"ws://127.0.0.1:{self.port}/socket.io/?EIO=4&transport=websocket"
        async with asyncio.timeout(WAIT_S):
            await ws_connect(lambda: client, url, read_buffer_init_size=1_024)
            await client.ready


@asynccontextmanager
async def server(kind: str) -> AsyncIterator[Server]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "loadtests.sockets_server",
        *kind.split("/"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with aiohttp.ClientSession() as http:
        started = Server(int(await process.stdout.readline()), http)
        try:
            yield started
        finally:
            for client in started.clients:
                client.close()
            process.kill()
            await process.wait()


async def commands(kind: str, seconds: float) -> tuple[float, list[float], float]:
    """CPU per command (µs), times (ms), commands per second."""
    async with server(kind) as started:
        clients = await started.connect([f"pair{number // 2}" for number in range(2 * PAIRS)])
        senders = clients[::2]
        await _run(senders, 1.0)
        for client in clients:
            client.times_ms.clear()
            client.received = 0
        before_s, _ = await started.usage()
        await _run(senders, seconds)
        after_s, _ = await started.usage()
        times_ms = [elapsed_ms for client in senders for elapsed_ms in client.times_ms]
        delivered = sum(client.received for client in clients)
        assert delivered >= len(times_ms) - PAIRS, "every command reaches the other one"
        return (after_s - before_s) / len(times_ms) * 1e6, times_ms, len(times_ms) / seconds


async def _run(senders: list[Client], seconds: float) -> None:
    for client in senders:
        client.running = True
        client.send()
    await asyncio.sleep(seconds)
    for client in senders:
        client.running = False
    await asyncio.sleep(0.2)  # for what is on its way


async def deliveries(kind: str, seconds: float) -> float:
    """CPU per delivery (µs) in a large room."""
    async with server(kind) as started:
        clients = await started.connect(["room"] * ROOM)
        await _run(clients[:1], 1.0)
        for client in clients:
            client.received = 0
        before_s, _ = await started.usage()
        await _run(clients[:1], seconds)
        after_s, _ = await started.usage()
        return (after_s - before_s) / sum(client.received for client in clients) * 1e6


async def memory(kind: str, sockets: int) -> float:
    """Bytes per idle socket, each in a room of its own."""
    async with server(kind) as started:
        await started.connect(["warm"])
        _, before = await started.usage()
        await started.connect([f"own{number}" for number in range(sockets)])
        _, after = await started.usage()
        return (after - before) / sockets


async def measure(kinds: list[str], seconds: float, sockets: int) -> tuple[Result, list[Latency]]:
    figures: dict[str, float] = {}
    rows = []
    for kind in kinds:
        per_command_us, times_ms, per_s = await commands(kind, seconds)
        name = kind.replace("/", "_")
        figures[f"{name}_cpu_us_per_command"] = round(per_command_us, 1)
        figures[f"{name}_cpu_us_per_delivery"] = round(await deliveries(kind, seconds), 2)
        figures[f"{name}_bytes_per_socket"] = round(await memory(kind, sockets))
        ordered = sorted(times_ms)
        p50_ms, p95_ms, p99_ms = (round(percentile(ordered, percent), 3) for percent in (50, 95, 99))
        rows.append(
            Latency(
                name=f"command on {kind}",
                count=len(ordered),
                failed=0,
                per_s=round(per_s, 1),
                p50_ms=p50_ms,
                p95_ms=p95_ms,
                p99_ms=p99_ms,
            )
        )
        print(f"{kind}: {figures}", file=sys.stderr)
    return Result("sockets", figures, goals(figures)), rows


def goals(figures: dict[str, float]) -> dict[str, Goal]:
    """The engine beside the stock server, on the same event loop."""
    found = {}
    for name, most in {"cpu_us_per_command": 0.4, "cpu_us_per_delivery": 0.4}.items():
        stock, engine = figures.get(f"stock_asyncio_{name}"), figures.get(f"engine_asyncio_{name}")
        if stock and engine:
            share = round(engine / stock, 3)
            found[f"vs_stock_{name}"] = Goal(f"<= {most}", share, share <= most)
    for kind in ("engine_asyncio", "engine_uvloop"):
        if (used := figures.get(f"{kind}_bytes_per_socket")) is not None:
            found[f"{kind}_bytes_per_socket"] = Goal("<= 10240", used, used <= 10_240)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="dev.py bench sockets")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--sockets", type=int, default=5_000)
    parser.add_argument("--kinds", default=KINDS)
    parser.add_argument("--keep", action="store_true", help="write the results that the documentation quotes")
    arguments = parser.parse_args()
    result, rows = asyncio.run(measure(arguments.kinds.split(","), arguments.seconds, arguments.sockets))
    if arguments.keep:
        for path in keep(result, vars(arguments), rows):
            print(f"Written: {path}", file=sys.stderr)
    print(result.line())


if __name__ == "__main__":
    main()
