"""One handler on bare aiohttp, to be measured beside ours: `python -m loadtests.media.bare_server JSON`.

It makes that JSON anew for each request, and looks at nothing. Prints its port, and serves until its input ends.
"""

import asyncio
import json
import sys

from aiohttp import web

from loadtests.media.place import API

compact = json.JSONEncoder(separators=(",", ":")).encode
"""As long as what playhead says."""


async def serve(answer: object) -> None:
    async def stream(_request: web.Request) -> web.Response:
        return web.json_response(answer, dumps=compact)

    app = web.Application()
    app.router.add_get(f"{API}/stream/{{script_id}}", stream)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
