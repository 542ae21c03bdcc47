"""A server that is not what it says: it gets no password in cleartext, and what it sends becomes one of our errors."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from limpet import ConfigurationError, LimpetError
from limpet.opening import driver_from_url
from limpet_conformance.servers._certificates import Certificates

PASSWORD = "S3CRETpw"
_TLS_ASKED = 80877103
_CLEARTEXT = b"R" + struct.pack("!II", 8, 3)

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]


async def startup(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tls: ssl.SSLContext | None) -> None:
    """Read what a client begins with, and begin TLS where both want that."""
    while True:
        body = await reader.readexactly(struct.unpack("!I", await reader.readexactly(4))[0] - 4)
        if struct.unpack("!I", body[:4])[0] != _TLS_ASKED:
            return
        writer.write(b"N" if tls is None else b"S")
        if tls is not None:
            await writer.start_tls(tls)


async def message(reader: asyncio.StreamReader) -> bytes:
    kind = await reader.readexactly(1)
    return kind + await reader.readexactly(struct.unpack("!I", await reader.readexactly(4))[0] - 4)


@asynccontextmanager
async def server(talk: Talk) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the last when the test is over
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


def url(port: int, mode: str | None, more: str = "") -> str:
    said = "" if mode is None else f"&ssl={mode}"
    return f"postgresql://bob:{PASSWORD}@127.0.0.1:{port}/x?connect_timeout=3&timeout=3{said}{more}"


async def heard(mode: str | None, tls: ssl.SSLContext | None, asks: bytes, more: str = "") -> tuple[list[bytes], str]:
    """What a server hears that asks for something, and how the driver puts it."""
    said: list[bytes] = []

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await startup(reader, writer, tls)
        writer.write(asks)
        said.append(await message(reader))

    async with server(ask) as port:
        with pytest.raises(LimpetError) as caught:
            await driver_from_url(url(port, mode, more)).open()
    return said, f"{type(caught.value).__name__}: {caught.value}"


@pytest.mark.parametrize("mode", [None, "disable", "allow", "prefer"])
async def test_no_password_is_sent_in_cleartext_without_tls(mode: str | None) -> None:
    said, error = await heard(mode, None, _CLEARTEXT)
    assert "asks for the password in cleartext, which was not sent" in error
    assert "ConfigurationError" in error
    assert not said


async def test_nor_where_tls_is_not_insisted_on_and_an_attacker_has_it(tmp_path: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made = Certificates(tmp_path)
    tls.load_cert_chain(made.cert, made.key)
    said, error = await heard("prefer", tls, _CLEARTEXT)
    assert "in cleartext, which was not sent" in error
    assert not said
    said, _ = await heard("require", tls, _CLEARTEXT)
    assert said == [b"p" + PASSWORD.encode() + b"\0"], "with TLS, which was asked for, it may be"


@pytest.mark.parametrize("mode", [None, "disable"])
async def test_a_proof_of_the_password_is_sent(mode: str | None) -> None:
    md5 = b"R" + struct.pack("!II", 12, 5) + b"salt"
    said, _ = await heard(mode, None, md5)
    assert [each[:4] for each in said] == [b"pmd5"]
    scram = b"SCRAM-SHA-256\0\0"
    said, _ = await heard(mode, None, b"R" + struct.pack("!II", 8 + len(scram), 10) + scram)
    assert [each[:14] for each in said] == [b"pSCRAM-SHA-256"]


async def test_the_password_of_the_environment_is_guarded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "of-the-environment")
    said: list[bytes] = []

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await startup(reader, writer, None)
        writer.write(_CLEARTEXT)
        said.append(await message(reader))

    async with server(ask) as port:
        with pytest.raises(ConfigurationError, match="in cleartext, which was not sent"):
            await driver_from_url(f"postgresql://bob@127.0.0.1:{port}/x?connect_timeout=3").open()
    assert not said


@pytest.mark.filterwarnings("ignore:Exception ignored in.*Connection.__del__:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("seed", range(12))
async def test_whatever_it_sends_the_error_is_ours(seed: int) -> None:
    random = Random(seed)

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if seed % 2:
            await startup(reader, writer, None)
        if seed % 4 == 3:
            writer.write(b"R" + struct.pack("!II", 8, 0) + b"Z" + struct.pack("!I", 5) + b"I")
            await message(reader)
        writer.write(random.randbytes(random.randrange(1, 200)))
        await reader.read(100)

    async with server(babble) as port:
        with pytest.raises(LimpetError) as caught:
            await driver_from_url(url(port, None)).open()
    assert PASSWORD not in str(caught.value)
