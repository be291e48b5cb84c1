"""Tables of the documentation, made from the code, and the effective settings as text. Never a secret."""

import re
from typing import Any

from prometheus_client import CollectorRegistry, Metric
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from playhead.media.authoring import DELIBERATE, UNRULED
from playhead.playback.rejections import REASONS
from playhead.runtime.metrics import create_metrics
from playhead.runtime.settings import Settings, environment_name

ALIASES = {"database_url": "DATABASE_URL", "media_url": "PLAYHEAD_CDN_BASE_URL", "redis_url": "REDIS_URL"}


def settings_text(settings: Settings) -> str:
    """One line a setting: the variable and its effective value."""
    rows = [(environment_name(name), _shown(getattr(settings, name))) for name in Settings.model_fields]
    width = max(len(variable) for variable, _ in rows)
    return "\n".join(f"{variable.ljust(width)}  {value}" for variable, value in rows)


def settings_markdown() -> str:
    """The reference: every variable, its default and what it means."""
    rows = [
        f"| {_names(name)} | {_default(field)} | {field.description} |" for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | meaning |", "| --- | --- | --- |", *rows])


def _names(field: str) -> str:
    name = f"`{environment_name(field)}`"
    return f"{name} (also `{ALIASES[field]}`)" if field in ALIASES else name


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    return "" if value in (None, (), {}) or value is PydanticUndefined else f"`{_shown(value)}`"


def _shown(value: Any) -> str:
    if value is None:
        return "(not set)"
    if isinstance(value, SecretStr):
        return "(set)"
    if isinstance(value, dict):
        return f"(keys: {', '.join(value)})" if value else "(not set)"
    if isinstance(value, tuple) and any(isinstance(part, SecretStr) for part in value):
        return f"({len(value)} set)"
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value) or "(not set)"
    return str(value)


def rejections_markdown() -> str:
    """The table of refusals, as docs/protocol.md and docs/rest.md show it."""
    rows = [
        f"| `{code.value}` | {reason.status} | {'yes' if reason.retry else 'no'} | {reason.message} |"
        for code, reason in REASONS.items()
    ]
    return "\n".join(["| code | HTTP | retry | message |", "| --- | --- | --- | --- |", *rows])


def metrics_markdown() -> str:
    """The table of metrics, as docs/operations.md shows it."""
    registry = CollectorRegistry()
    create_metrics(registry)
    rows = [f"| `{_exported(family)}` | {family.type} | {family.documentation} |" for family in registry.collect()]
    return "\n".join(["| metric | kind | what it is |", "| --- | --- | --- |", *rows])


def _exported(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def clauses_markdown() -> str:
    """The clauses of HLS authoring that are not met, by their numbers, as docs/media.md shows them."""
    clauses = [(rule.clause, rule.text, why) for rule, why in DELIBERATE.items()]
    clauses += [(unruled.clause, unruled.text, unruled.instead) for unruled in UNRULED]
    clauses.sort(key=lambda row: [int(number) for number in re.findall(r"\d+", row[0])])
    rows = [f"| {' | '.join(row)} |" for row in clauses]
    return "\n".join(["| clause | asks that | instead |", "| --- | --- | --- |", *rows])
