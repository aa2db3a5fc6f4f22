"""Every verb of the command line as a function of the same name: ``from embedmig.commands import expand``.

Each takes the Database first, gives a frozen dataclass, and raises from embedmig.errors.
"""

import importlib
from typing import Any

_WHERE = {
    "model_add": "models",
    "model_list": "models",
    "model_show": "models",
    "model_set": "models",
    "collection_add": "collections",
    "collection_list": "collections",
    "collection_show": "collections",
    "init": "setup",
    "doctor": "checks",
    "audit": "checks",
    "verify": "checks",
    "plan": "planning",
    "expand": "slots",
    "expand_undo": "slots",
    "handover": "slots",
    "handover_undo": "slots",
    "bridge": "bridging",
    "reembed": "backfills",
    "failures_list": "backfills",
    "failures_retry": "backfills",
    "failures_ignore": "backfills",
    "jobs": "job_control",
    "pause": "job_control",
    "resume": "job_control",
    "cancel": "job_control",
    "adapter_fit": "adapter_fitting",
    "adapter_eval": "adapter_evaluating",
    "adapter_list": "adapter_serving",
    "adapter_show": "adapter_serving",
    "adapter_use": "adapter_serving",
    "adapter_use_undo": "adapter_serving",
    "adapter_drop": "adapter_serving",
    "index": "indexing",
    "compare": "comparing",
    "candidates_page": "comparing",
    "validate": "validating",
    "judge": "judging",
    "report_list": "reporting",
    "report_show": "reporting",
    "report_page": "reporting",
    "report_compare": "reporting",
    "rollout": "routing",
    "rollout_auto": "routing",
    "rollout_watch": "routing",
    "rollback": "routing",
    "guard": "guarding",
    "search": "searching",
    "status": "watching",
    "events": "watching",
    "served": "traffic",
    "contract": "contracting",
    "detach": "contracting",
    "detach_sql": "contracting",
}

__all__ = sorted(_WHERE)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    # A verb loads only what it needs: planning does not wait for the validator's imports.
    if name in _WHERE:
        return getattr(importlib.import_module(f"embedmig.commands.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
