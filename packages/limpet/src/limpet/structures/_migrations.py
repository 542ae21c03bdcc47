"""Forward migrations of stored documents, one version at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from .._errors import ConfigurationError, CorruptDataError, FormatError

__all__ = ["Migrations", "Step"]

Step: TypeAlias = Callable[[Any], Any]
"""Takes a document of one version, returns it in the next: a plain function of the stored JSON."""


class Migrations:
    """The current version of stored documents, and the steps that lead to it.

    Documents are migrated when they are read and stored in the current version when they are next written.
    """

    def __init__(self, *, version: int = 1) -> None:
        if version < 1:
            raise ConfigurationError(f"version is {version}: versions start at 1")
        self.version = version
        self._steps: dict[int, Step] = {}

    def step(self, version: int) -> Callable[[Step], Step]:
        """Register the function that migrates from `version` to the next one."""
        if not 1 <= version < self.version:
            raise ConfigurationError(
                f"a step from version {version} leads nowhere: the current version is {self.version}"
            )
        if version in self._steps:
            raise ConfigurationError(f"there is already a step from version {version}")

        def register(step: Step) -> Step:
            self._steps[version] = step
            return step

        return register

    def migrate(self, document: Any, version: Any, where: str) -> Any:
        """Return the document in the current version.

        Raises `FormatError` if it is newer or a step is missing, `CorruptDataError` if its version is invalid.
        """
        if type(version) is not int or version < 1:
            raise CorruptDataError(f"{where} has the version {version!r}, which is not a number of 1 or more")
        if version > self.version:
            raise FormatError(
                f"{where} was written in version {version}, but this program reads up to {self.version}: upgrade the program"
            )
        for at in range(version, self.version):
            if at not in self._steps:
                raise FormatError(
                    f"{where} has version {version}, but no step leads from {at} to {at + 1}: register one"
                )
            document = self._steps[at](document)
        return document
