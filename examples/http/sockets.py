"""The transport: a websocket of aiohttp as the library's `Link`, the same at both ends."""

import aiohttp
from aiohttp import web

LARGEST = 2**26  # bytes of a message


class Socket:
    """One connection."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse | web.WebSocketResponse) -> None:
        self._socket = socket

    async def send(self, data: bytes) -> None:
        """Sends one message."""
        await self._socket.send_bytes(data)

    async def receive(self) -> bytes:
        """Returns the next message; raises EOFError once the connection is closed."""
        message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.BINARY:
            raise EOFError("the connection was closed")
        return bytes(message.data)
