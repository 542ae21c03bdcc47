"""The command `limpet`: one module for each command or family."""

from __future__ import annotations

import sys
import warnings

from .._errors import LimpetError

__all__ = ["main"]


def main() -> None:
    """Run the command line. Without the `cli` extra: say how to install it."""
    try:
        from ._app import application
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit(
            f"limpet: the command line requires the extra limpet[cli] ({error.name} is not installed): "
            "install it from the same source as limpet"
        )
    warnings.formatwarning = lambda message, *_: f"limpet: {message}\n"
    try:
        app = application()
    except LimpetError as error:
        sys.exit(f"limpet: {error}")
    app()
