"""The guard: overriding or removing a test without a strict xfail that has a reason fails the suite."""

from __future__ import annotations

from typing import Any

from ._suite import Section

__all__ = ["Guarded", "published_tests"]

_GUARD = "test_no_published_test_was_overridden_or_deleted"


def published_tests(suite: type[Section]) -> dict[str, Any]:
    """Return by name every test that the sections among the bases of `suite` publish."""
    found: dict[str, Any] = {}
    for base in reversed(suite.__mro__):
        if base.__module__.startswith("limpet_conformance."):
            found |= {name: function for name, function in vars(base).items() if name.startswith("test_")}
    return found


def _reasoned(test: Any) -> bool:
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "xfail"]
    return any(mark.kwargs.get("reason") and mark.kwargs.get("strict") is True for mark in marks)


class Guarded(Section):
    """The last section of a suite."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if _GUARD in vars(cls) and not cls.__module__.startswith("limpet_conformance."):
            raise TypeError(f"{cls.__name__} overrides {_GUARD}: take that out")

    def test_no_published_test_was_overridden_or_deleted(self) -> None:
        wrong = []
        for name, published in published_tests(type(self)).items():
            mine = getattr(type(self), name, None)
            if mine is not published and not _reasoned(mine):
                wrong.append(f"{name} was {'deleted' if mine is None else 'overridden'}")
        marks = getattr(type(self), "pytestmark", [])
        for mark in marks if isinstance(marks, list) else [marks]:
            if mark.name in ("skip", "xfail"):
                wrong.append(f"the whole class is marked {mark.name}")
        assert not wrong, (
            "; ".join(wrong) + ". What a driver does not do it does not declare; what it does wrong is overridden with "
            "@pytest.mark.xfail(reason=..., strict=True) and a call of super()"
        )
