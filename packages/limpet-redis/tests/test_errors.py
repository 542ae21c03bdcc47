"""Every error of redis-py and of the network becomes one of ours."""

import pytest
from limpet import (
    ConfigurationError,
    CorruptDataError,
    LimpetError,
    ReadOnlyError,
    UnavailableError,
)
from limpet_conformance.servers import free_port
from limpet_drivers.redis import RedisDriver
from limpet_drivers.redis._errors import CLIENT_ERRORS, of_redis
from redis import exceptions

ERRORS = sorted(
    (
        found
        for name in dir(exceptions)
        if isinstance(found := getattr(exceptions, name), type)
        and issubclass(found, exceptions.RedisError | exceptions.RedisClusterException)
    ),
    key=lambda found: found.__name__,
)
"""Every exception that the client library has."""


def made(kind: type[Exception], says: str) -> Exception:
    error = kind.__new__(kind)
    error.args = (says,)
    return error


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_each_error_has_one_of_ours(kind: type[Exception]) -> None:
    error = made(kind, "what the server says")
    assert isinstance(error, CLIENT_ERRORS)
    ours = of_redis(error, "the place")
    assert "the place" in str(ours)
    assert len(str(ours)) > len("the place") + 20, "it says what to do"


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (made(exceptions.AuthenticationError, "invalid username-password pair"), ConfigurationError),
        (exceptions.ResponseError("NOAUTH Authentication required."), ConfigurationError),
        (exceptions.NoPermissionError("this user has no permissions to run the 'evalsha' command"), ConfigurationError),
        (exceptions.ReadOnlyError("You can't write against a read only replica."), ReadOnlyError),
        (exceptions.ResponseError("WRONGTYPE Operation against a key"), CorruptDataError),
        (exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), UnavailableError),
        (exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots"), UnavailableError),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), UnavailableError),
        (exceptions.MovedError("3999 127.0.0.1:6381"), ConfigurationError),
        (exceptions.ClusterDownError("CLUSTERDOWN The cluster is down"), UnavailableError),
        (exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."), UnavailableError),
        (exceptions.ResponseError("DB index is out of range"), ConfigurationError),
        (exceptions.SlotNotCoveredError("Slot 1 not covered by the cluster."), UnavailableError),
    ],
    ids=lambda value: str(value)[:20],
)
def test_the_common_ones(error: Exception, ours: type[LimpetError]) -> None:
    assert type(of_redis(error, "the place")) is ours


@pytest.mark.parametrize(
    ("error", "unknown"),
    [
        (exceptions.ConnectionError("Connection closed by server."), True),
        (exceptions.TimeoutError("Timeout reading from socket"), True),
        (ConnectionResetError("reset"), True),
        (TimeoutError(), True),
        (exceptions.OutOfMemoryError("no room"), False),
        (exceptions.ResponseError("BUSY Redis is busy running a script."), False),
        (exceptions.TryAgainError("Multiple keys request during rehashing of slot"), False),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), False),
        (exceptions.ResponseError("Script attempted to access a non local key in a cluster node"), True),
    ],
    ids=lambda value: f"{type(value).__name__} {str(value)[:10]}",
)
def test_whether_a_write_may_have_happened(error: Exception, unknown: bool) -> None:
    ours = of_redis(error, "the place", sent=True)
    assert isinstance(ours, UnavailableError)
    assert ours.sent is unknown


def test_what_to_do_about_a_lost_answer_is_said_further_up() -> None:
    error = exceptions.ConnectionError("Connection closed by server.")
    assert str(of_redis(error, "the place")).endswith("check whether it is running, then retry")
    assert "retry" not in str(of_redis(error, "the place", sent=True))


async def test_a_server_that_is_not_there_is_an_error_of_the_public_kind() -> None:
    with pytest.raises(UnavailableError, match="check whether it is running") as caught:
        await RedisDriver(f"redis://127.0.0.1:{free_port()}").open()
    assert type(caught.value) is UnavailableError
    assert isinstance(caught.value.__cause__, exceptions.ConnectionError)
