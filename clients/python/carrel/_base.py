# SPDX-License-Identifier: Apache-2.0
"""What the generated part stands on: errors, and parameters that were given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Unset:
    """The type of UNSET, which is a parameter that was not given where None has a meaning of its own."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET = Unset()


def given(plain: Mapping[str, Any], nullable: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The parameters that were given: in `plain` those that are not None, in `nullable` those that are not UNSET."""
    params = {name: value for name, value in plain.items() if value is not None}
    params.update((name, value) for name, value in (nullable or {}).items() if not isinstance(value, Unset))
    return params


class Error(Exception):
    """carrel refused a request, or it failed. Each kind has a class of its own; decide by class, kind and retryable."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(str(error.get("message", "")))
        data = error.get("data")
        self.code: int = error.get("code", 0)
        self.data: dict[str, Any] = dict(data) if isinstance(data, Mapping) else {}

    @property
    def kind(self) -> str | None:
        """Its kind; None for a fault of the protocol itself."""
        return self.data.get("kind")

    @property
    def retryable(self) -> bool:
        """Whether asking again may succeed."""
        return bool(self.data.get("retryable"))

    @property
    def retry_after_ms(self) -> int | None:
        """When to ask again."""
        return self.data.get("retry_after_ms")

    @property
    def path(self) -> str | None:
        """The parameter that it is about."""
        return self.data.get("path")

    @property
    def session(self) -> str | None:
        """The session that it is about."""
        return self.data.get("session")

    @property
    def step(self) -> str | None:
        """The step that failed."""
        return self.data.get("step")

    @property
    def errno(self) -> str | None:
        """The name of the system's error, as "ENOENT"."""
        return self.data.get("errno")

    @property
    def log_tail(self) -> str | None:
        """The last lines of the workload."""
        return self.data.get("log_tail")

    @property
    def result(self) -> Any:
        """What there is of a result."""
        return self.data.get("result")
