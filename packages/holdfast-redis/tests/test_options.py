"""Keywords and their spelling in a URL."""

import pytest
from holdfast import ConfigurationError
from holdfast.opening import driver_from_url
from holdfast_drivers.redis import RedisDriver
from holdfast_drivers.redis._options import Options


def test_a_url_says_all_that_keywords_say() -> None:
    url = "rediss://ada:p%40ss@cache.example.org:6380/2?base=agents&pool_size=3&timeout=2.5&connect_timeout=4&eviction=allow"
    assert Options.from_url(url) == Options(
        url="rediss://ada:p%40ss@cache.example.org:6380/2", base="agents", pool_size=3, timeout=2.5, connect_timeout=4,
        eviction="allow",
    )  # fmt: skip
    assert isinstance(driver_from_url("rediss://localhost"), RedisDriver)


def test_what_is_left_out() -> None:
    assert Options.from_url("redis://") == Options()
    assert Options.from_url("redis://[::1]:7000").url == "redis://[::1]:7000/0"


def test_no_password_is_shown() -> None:
    assert "secret" not in Options.from_url("redis://ada:secret@host/0").place


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"base": "a{b}"}, "base"),
        ({"base": ""}, "base"),
        ({"pool_size": 0}, "pool_size"),
        ({"timeout": 0}, "timeout"),
        ({"connect_timeout": float("nan")}, "connect_timeout"),
        ({"eviction": "perhaps"}, "eviction"),
    ],
)
def test_what_cannot_be_used_is_named(options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        RedisDriver(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url", ["redis://host/agents", "redis://host/0?prefix=x", "redis://host?decode_responses=true"]
)
def test_unknown_options_are_errors(url: str) -> None:
    with pytest.raises(ConfigurationError):
        RedisDriver.from_url(url)
