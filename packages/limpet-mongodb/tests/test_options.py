"""Keywords and their spelling in a URL."""

from time import monotonic

import pytest
from limpet import ConfigurationError, UnavailableError
from limpet.opening import driver_from_url
from limpet_conformance.servers import free_port
from limpet_drivers.mongodb import MongodbDriver
from limpet_drivers.mongodb._options import Options
from pymongo import AsyncMongoClient, MongoClient


def test_a_url_says_all_that_keywords_say() -> None:
    options = Options.from_url(
        "mongodb://ada:p%40ss@one.example.org:27017,two.example.org:27018/agents?replicaSet=rs0&authSource=admin&tls=true"
        "&collection=storage&transactions=true&durability=process&pool_size=3&timeout=2.5&connect_timeout=4"
    )
    assert options == Options(
        url="mongodb://ada:p%40ss@one.example.org:27017,two.example.org:27018/agents?replicaSet=rs0&authSource=admin&tls=true",
        collection="storage", transactions="true", durability="process", pool_size=3, timeout=2.5, connect_timeout=4,
    )  # fmt: skip
    assert options.database_name == "agents"
    assert isinstance(driver_from_url("mongodb+srv://cluster.example.org/agents"), MongodbDriver)


def test_what_is_left_out() -> None:
    options = Options.from_url("mongodb://")
    assert (options.url, options.database_name, options.collection) == ("mongodb://localhost/", "limpet", "limpet")
    assert Options.from_url("mongodb://host").database_name == "limpet"
    assert Options.from_url("mongodb://ada:secret@host/admin?database=agents").database_name == "agents"
    assert Options(database="agents").database_name == "agents"


def test_a_copied_connection_string_may_say_what_is_so_anyway() -> None:
    copied = "mongodb+srv://ada:secret@cluster.example.org/agents?retryWrites=true&w=majority&readPreference=primary&appName=x"
    assert Options.from_url(copied).url == "mongodb+srv://ada:secret@cluster.example.org/agents?appName=x"


def test_no_password_is_shown() -> None:
    assert (
        "secret" not in Options.from_url("mongodb://ada:secret@host/agents?tlsCertificateKeyFilePassword=secret").place
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"collection": "a$b"}, "collection"),
        ({"collection": "system.users"}, "system"),
        ({"collection": ""}, "collection"),
        ({"database": "a b"}, "database"),
        ({"database": "d" * 64}, "database"),
        ({"pool_size": 0}, "pool_size"),
        ({"timeout": 0}, "timeout"),
        ({"connect_timeout": float("inf")}, "connect_timeout"),
        ({"transactions": "perhaps"}, "transactions"),
        ({"durability": "no"}, "durability"),
        ({"url": "postgresql://host"}, "mongodb"),
        ({"url": "mongodb://host/?collection=x"}, "keyword"),
    ],
)
def test_what_cannot_be_used_is_named(options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        MongodbDriver(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("colection=x", "collection"),
        ("connectionString=x", "no option"),
        ("w=1", "majority"),
        ("readPreference=secondary", "primary"),
        ("journal=false", "durability"),
        ("maxPoolSize=5", "pool_size"),
        ("socketTimeoutMS=5", "timeout"),
        ("pool_size=many", "pool_size"),
    ],
)
def test_options_that_are_unknown_or_have_another_name_here(query: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        MongodbDriver.from_url(f"mongodb://host/agents?{query}")


async def test_a_client_knows_its_servers_and_has_to_be_asynchronous() -> None:
    async with AsyncMongoClient[dict[str, object]]("mongodb://host") as client:
        with pytest.raises(ConfigurationError, match="client"):
            MongodbDriver("mongodb://elsewhere", client=client)
    with (
        MongoClient[dict[str, object]]("mongodb://host", connect=False) as blocking,
        pytest.raises(ConfigurationError, match="AsyncMongoClient"),
    ):
        await MongodbDriver(client=blocking).open()


async def test_what_the_client_library_does_not_take_is_told_at_open() -> None:
    with pytest.raises(ConfigurationError, match="cannot be reached with these settings"):
        await MongodbDriver("mongodb://host/?directConnection=perhaps").open()


async def test_a_server_is_looked_for_no_longer_than_a_connection_may_take() -> None:
    driver = MongodbDriver(f"mongodb://127.0.0.1:{free_port()}", connect_timeout=0.3)
    started = monotonic()
    with pytest.raises(UnavailableError, match="cannot be reached") as caught:
        await driver.open()
    assert monotonic() - started < 5, "`timeout` is for a call to a server that was found"
    assert "Connect call failed" in str(caught.value)
    assert "Topology" not in str(caught.value)
    assert "configured timeouts" not in str(caught.value)
