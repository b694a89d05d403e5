"""Workflows that live in PostgreSQL: define a flow, run it, see what happens.

Names load when first used, so that `import pgflow` costs next to nothing.
"""

from __future__ import annotations

import sys
from types import ModuleType

# Type checkers know the name; importing it from typing would cost half of the whole import.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from pgflow.builder import FlowBuilder
    from pgflow.client import Client, Run
    from pgflow.database import Database, ValueCodec
    from pgflow.embedded import EmbeddedServer
    from pgflow.errors import (
        ConnectionFailed,
        DecodingError,
        DefinitionError,
        EncodingError,
        FlowNotFound,
        LeaseLost,
        NonRetryable,
        PermissionDenied,
        PgflowError,
        PlanInvalid,
        RetryAfter,
        RunCancelled,
        RunFailed,
        RunNotFound,
        SchemaMismatch,
        SealError,
        TaskTimeout,
        UsageError,
        WaitTimeout,
        WorkerSpent,
    )
    from pgflow.execute import (
        Result,
        execute,
        execute_async,
        execute_dynamic,
        execute_dynamic_sync,
    )
    from pgflow.flow import Flow, Limits, Step, at_most
    from pgflow.handlers import TaskContext, current_task
    from pgflow.plan import Handlers, Plan, PlanProblem, PlanStep
    from pgflow.records import RunStatus, StepStatus, TaskStatus
    from pgflow.supervisor import Supervisor
    from pgflow.worker import Worker

__version__ = "0.1.0"

_HOMES = {
    "builder": ("FlowBuilder",),
    "client": ("Client", "Run"),
    "database": ("Database", "ValueCodec"),
    "embedded": ("EmbeddedServer",),
    "errors": (
        "ConnectionFailed",
        "DecodingError",
        "DefinitionError",
        "EncodingError",
        "FlowNotFound",
        "LeaseLost",
        "NonRetryable",
        "PermissionDenied",
        "PgflowError",
        "PlanInvalid",
        "RetryAfter",
        "RunCancelled",
        "RunFailed",
        "RunNotFound",
        "SchemaMismatch",
        "SealError",
        "TaskTimeout",
        "UsageError",
        "WaitTimeout",
        "WorkerSpent",
    ),
    "execute": (
        "Result",
        "execute",
        "execute_async",
        "execute_dynamic",
        "execute_dynamic_sync",
    ),
    "flow": ("Flow", "Limits", "Step", "at_most"),
    "handlers": ("TaskContext", "current_task"),
    "plan": ("Handlers", "Plan", "PlanProblem", "PlanStep"),
    "records": ("RunStatus", "StepStatus", "TaskStatus"),
    "supervisor": ("Supervisor",),
    "worker": ("Worker",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Client",
    "ConnectionFailed",
    "Database",
    "DecodingError",
    "DefinitionError",
    "EmbeddedServer",
    "EncodingError",
    "Flow",
    "FlowBuilder",
    "FlowNotFound",
    "Handlers",
    "LeaseLost",
    "Limits",
    "NonRetryable",
    "PermissionDenied",
    "PgflowError",
    "Plan",
    "PlanInvalid",
    "PlanProblem",
    "PlanStep",
    "Result",
    "RetryAfter",
    "Run",
    "RunCancelled",
    "RunFailed",
    "RunNotFound",
    "RunStatus",
    "SchemaMismatch",
    "SealError",
    "Step",
    "StepStatus",
    "Supervisor",
    "TaskContext",
    "TaskStatus",
    "TaskTimeout",
    "UsageError",
    "ValueCodec",
    "WaitTimeout",
    "Worker",
    "WorkerSpent",
    "__version__",
    "at_most",
    "current_task",
    "execute",
    "execute_async",
    "execute_dynamic",
    "execute_dynamic_sync",
]


class _Package(ModuleType):
    """Keeps `pgflow.execute` the function, although a submodule has the same name."""

    def __setattr__(self, name: str, value: object) -> None:
        # Python puts each imported submodule on its package; this one would hide the function.
        if not (name == "execute" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        msg = f"module 'pgflow' has no attribute '{name}'"
        raise AttributeError(msg)
    from importlib import import_module  # noqa: PLC0415 - only the first use of a name pays

    value = getattr(import_module(f"pgflow.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
