"""A chat server in a process of its own: fixed replies, a limit of its own; prints its port.

`slot_server.py SLOTS SECONDS`: each reply takes SECONDS, and SLOTS are made at once, like a server
whose batch is full. One document a request.
"""

from __future__ import annotations

import asyncio
import json
import sys

_VERDICT = {"doc": 1, "relevant": False, "vs_truth": "na", "why": "no"}
_BODY = json.dumps(
    {
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": json.dumps({"verdicts": [_VERDICT]})},
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10},
    }
).encode()
_REPLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_BODY)
) + _BODY


async def serve(slots: int, seconds: float) -> None:
    free = asyncio.Semaphore(slots)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:-2])
                await reader.readexactly(int(fields[b"content-length"]))
                async with free:
                    await asyncio.sleep(seconds)
                writer.write(_REPLY)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
