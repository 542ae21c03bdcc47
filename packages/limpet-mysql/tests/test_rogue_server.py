"""A server that is not what it says: it gets no password in cleartext and no file, and what it sends becomes one of our errors."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest
from limpet import ConfigurationError, LimpetError, UnavailableError
from limpet.opening import driver_from_url

PASSWORD = "S3CRETpw"
CLIENTS = ("aiomysql", "asyncmy")
_PLUGIN_AUTH, _TLS = 0x80000, 0x800
_OK = b"\0\0\0\x02\0\0\0"

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]


def packet(number: int, body: bytes) -> bytes:
    return struct.pack("<I", len(body))[:3] + bytes([number]) + body


def greeting(plugin: bytes = b"mysql_native_password") -> bytes:
    able = 0xFFFFFFFF & ~_TLS
    head = b"\x0a8.0.36\0" + struct.pack("<I", 1) + b"A" * 8 + b"\0" + struct.pack("<H", able & 0xFFFF)
    return (
        head + b"\x21\x02\0" + struct.pack("<H", able >> 16) + b"\x15" + b"\0" * 10 + b"B" * 12 + b"\0" + plugin + b"\0"
    )


async def received(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readexactly(4)
    return head[3], await reader.readexactly(int.from_bytes(head[:3], "little"))


@asynccontextmanager
async def server(talk: Talk) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


def url(port: int, client: str, more: str = "") -> str:
    return f"mysql://bob:{PASSWORD}@127.0.0.1:{port}/x?client={client}&connect_timeout=3&timeout=3{more}"


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("plugin", [b"mysql_clear_password", b"dialog"])
@pytest.mark.parametrize("at_once", [False, True])
async def test_no_password_is_sent_in_cleartext_without_tls(client: str, plugin: bytes, at_once: bool) -> None:
    said: list[bytes] = []

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(packet(0, greeting(plugin if at_once else b"mysql_native_password")))
        number, body = await received(reader)
        said.append(body)
        writer.write(packet(number + 1, b"\xfe" + plugin + b"\0" + b"\x05Password: "))
        said.append((await received(reader))[1])

    async with server(ask) as port:
        with pytest.raises(ConfigurationError, match="in cleartext, which was not sent"):
            await driver_from_url(url(port, client)).open()
    assert not any(PASSWORD.encode() in each for each in said)


@pytest.mark.parametrize("client", CLIENTS)
async def test_no_file_is_sent(client: str) -> None:
    said: list[bytes] = []

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(packet(0, greeting()))
        number, _ = await received(reader)
        writer.write(packet(number + 1, _OK))
        await received(reader)
        writer.write(packet(1, b"\xfb/etc/passwd"))
        said.append((await received(reader))[1])

    async with server(ask) as port:
        with pytest.raises(UnavailableError, match="file of ours"):
            await driver_from_url(url(port, client)).open()
    assert not said


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("seed", range(12))
async def test_whatever_it_sends_the_error_is_ours(client: str, seed: int) -> None:
    random = Random(seed)

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if seed % 3:
            writer.write(packet(0, greeting()))
            number, _ = await received(reader)
            if seed % 3 == 2:
                writer.write(packet(number + 1, _OK))
                while True:
                    await received(reader)
                    writer.write(packet(1, random.choice([_OK, random.randbytes(random.randrange(1, 40))])))
        writer.write(packet(random.randrange(3), random.randbytes(random.randrange(1, 200))))
        await reader.read(100)

    async with server(babble) as port:
        with pytest.raises(LimpetError) as caught:
            await driver_from_url(url(port, client)).open()
    assert PASSWORD not in str(caught.value)
