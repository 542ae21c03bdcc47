"""The methods of Agentomatic's `BaseStore` for logs, what was found in them, and optimisation runs."""

from __future__ import annotations

from abc import abstractmethod
from datetime import datetime
from typing import Any

from limpet import InvalidValueError, Persistence

from agentomatic.storage import BaseStore

from ._history import Analysis, Entries, Invocation, OptimizationRun

__all__ = ["Logs"]


class Logs(BaseStore):  # type: ignore[misc]
    """What `LimpetStore` does with logs."""

    @property
    @abstractmethod
    def persistence(self) -> Persistence:
        """The stores behind this one."""

    @property
    def _logs(self) -> Entries[Invocation]:
        fields = ("thread_id", "agent_name", "endpoint", "status", "resource_type")
        return Entries(self.persistence.driver, Invocation, "agentomatic.logs", "invlog", fields)

    @property
    def _analyses(self) -> Entries[Analysis]:
        fields = ("agent_name", "resource_type")
        return Entries(self.persistence.driver, Analysis, "agentomatic.analyses", "logan", fields)

    @property
    def _runs(self) -> Entries[OptimizationRun]:
        fields = ("experiment_id", "agent_name")
        return Entries(self.persistence.driver, OptimizationRun, "agentomatic.runs", "optrun", fields)

    async def create_invocation_log(
        self,
        *,
        agent_name: str,
        resource_type: str = "agent",
        thread_id: str | None = None,
        run_id: str | None = None,
        endpoint: str = "invoke",
        input_data: dict[str, Any] | None = None,
        output_data: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        error: str | None = None,
        duration_ms: float | None = None,
        status: str = "ok",
        log_id: str | None = None,
    ) -> dict[str, Any]:
        """Store a call. What JSON cannot hold becomes text. Raises `ConflictError` if the id is taken."""
        fields = {
            "agent_name": agent_name,
            "resource_type": resource_type or "agent",
            "thread_id": thread_id,
            "run_id": run_id,
            "endpoint": endpoint,
            "input": input_data or {},
            "output": output_data or {},
            "metadata": metadata or {},
            "error": error,
            "duration_ms": duration_ms,
            "status": status,
        }
        return (await self._logs.add(log_id, fields)).shown()

    async def get_invocation_log(self, log_id: str) -> dict[str, Any] | None:
        """Return a call, or `None`."""
        found = await self._logs.get(log_id)
        return None if found is None else found.shown()

    async def list_invocation_logs(
        self,
        *,
        agent_name: str | None = None,
        resource_type: str | None = None,
        thread_id: str | None = None,
        status: str | None = None,
        endpoint: str | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> list[dict[str, Any]]:
        """List calls that match all filters, newest first."""
        found = await self._logs.list(
            limit,
            offset,
            agent_name=agent_name,
            resource_type=resource_type,
            thread_id=thread_id,
            status=status,
            endpoint=endpoint,
        )
        return [entry.shown() for entry in found]

    async def count_invocation_logs(
        self,
        *,
        agent_name: str | None = None,
        resource_type: str | None = None,
        thread_id: str | None = None,
        status: str | None = None,
        endpoint: str | None = None,
    ) -> int:
        """Return how many calls match all filters."""
        return await self._logs.count(
            agent_name=agent_name, resource_type=resource_type, thread_id=thread_id, status=status, endpoint=endpoint
        )

    async def delete_invocation_logs(self, *, thread_id: str | None = None, before: datetime | None = None) -> int:
        """Delete the calls of a thread, those before a moment, or those of both; return how many.

        Not a method of Agentomatic's: it keeps logs for ever, also those of deleted threads. Raises `InvalidValueError` for
        neither, and for a time without a time zone.
        """
        if not thread_id and before is None:
            raise InvalidValueError("this would delete all logs: pass thread_id=, before=, or both")
        if before is not None and before.tzinfo is None:
            raise InvalidValueError("a naive datetime has no time zone: use datetime.now(UTC)")
        return await self._logs.delete(before, thread_id=thread_id)

    async def save_log_analysis(
        self,
        *,
        agent_name: str,
        resource_type: str = "agent",
        score: float | None,
        summary: str,
        status: str,
        recommendations: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        analysis_id: str | None = None,
    ) -> dict[str, Any]:
        """Store what was found in logs. Raises `ConflictError` if the id is taken."""
        fields = {
            "agent_name": agent_name,
            "resource_type": resource_type or "agent",
            "score": score,
            "summary": summary,
            "status": status,
            "recommendations": recommendations or [],
            "metadata": metadata or {},
        }
        return (await self._analyses.add(analysis_id, fields)).shown()

    async def get_latest_log_analysis(self, agent_name: str, *, resource_type: str = "agent") -> dict[str, Any] | None:
        """Return what was found last for a resource, or `None`."""
        found = await self._analyses.list(1, 0, agent_name=agent_name, resource_type=resource_type or "agent")
        return found[0].shown() if found else None

    async def list_log_analyses(
        self, *, agent_name: str | None = None, resource_type: str | None = None, limit: int = 20, offset: int = 0
    ) -> list[dict[str, Any]]:
        """List what was found, newest first."""
        found = await self._analyses.list(limit, offset, agent_name=agent_name, resource_type=resource_type)
        return [entry.shown() for entry in found]

    async def create_optimization_run(
        self,
        *,
        experiment_id: str,
        agent_name: str,
        baseline_score: float | None = None,
        best_score: float | None = None,
        prompt_versions: dict[str, Any] | None = None,
        score_history: list[Any] | None = None,
        learnings: list[Any] | None = None,
        artefacts: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        run_id: str | None = None,
    ) -> dict[str, Any]:
        """Store an optimisation run. Raises `ConflictError` if the id is taken."""
        fields = {
            "experiment_id": experiment_id,
            "agent_name": agent_name,
            "baseline_score": baseline_score,
            "best_score": best_score,
            "prompt_versions": prompt_versions or {},
            "score_history": score_history or [],
            "learnings": learnings or [],
            "artefacts": artefacts or {},
            "metadata": metadata or {},
        }
        return (await self._runs.add(run_id, fields)).shown()

    async def get_optimization_run(self, run_id: str) -> dict[str, Any] | None:
        """Return an optimisation run, or `None`."""
        found = await self._runs.get(run_id)
        return None if found is None else found.shown()

    async def list_optimization_runs(
        self, *, agent_name: str | None = None, experiment_id: str | None = None, limit: int = 50, offset: int = 0
    ) -> list[dict[str, Any]]:
        """List optimisation runs, newest first."""
        found = await self._runs.list(limit, offset, agent_name=agent_name, experiment_id=experiment_id)
        return [entry.shown() for entry in found]
