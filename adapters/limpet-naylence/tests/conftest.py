"""What Naylence itself warns of."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "ignore:The `pad_event` argument:DeprecationWarning")
