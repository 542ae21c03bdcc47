"""A server that is not what it says: whatever it sends becomes one of our errors."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from limpet import ConfigurationError, LimpetError
from limpet.opening import driver_from_url

PASSWORD = "S3CRETpw"


async def opened(answer: bytes, *, times: int = 1000) -> LimpetError:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for _ in range(times):
                if not await reader.read(4096):
                    break
                writer.write(answer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(LimpetError) as caught:
            await driver_from_url(f"redis://bob:{PASSWORD}@127.0.0.1:{port}/0?connect_timeout=2&timeout=2").open()
        assert PASSWORD not in str(caught.value)
        return caught.value


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_it_sends_the_error_is_ours(seed: int) -> None:
    random = Random(seed)
    await opened(random.choice([b"+", b"$", b"*", b"%", b":", b""]) + random.randbytes(30) + b"\r\n", times=20)


@pytest.mark.parametrize("answer", [b"+OK\r\n", b"*0\r\n", b":1\r\n", b"$-1\r\n", b"*2\r\n$1\r\na\r\n*0\r\n"])
async def test_nor_does_a_wrong_answer_end_in_anything_else(answer: bytes) -> None:
    await opened(answer)


async def test_a_server_that_repeats_the_password_does_not_get_it_into_our_error() -> None:
    error = await opened(f"-ERR unknown command 'AUTH', with args beginning with: 'bob' '{PASSWORD}' \r\n".encode())
    assert not isinstance(error, ConfigurationError) or "bob" not in str(error)
