"""Names of environment variables, of which a setting may have two, and errors that speak of them. Knows of no setting.

    PLAYHEAD_DATABASE_URL, DATABASE_URL           the second is everybody's name for it: ours comes first
    PLAYHEAD_MEDIA_URL, PLAYHEAD_CDN_BASE_URL     both are ours, and must agree

They are read without regard to case, as the settings are.
"""

import os
from collections.abc import Container, Iterable, Mapping
from typing import Any

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

ENV_PREFIX = "PLAYHEAD_"


def aliased(name: str, other: str | None = None) -> AliasChoices:
    """`name` with our prefix, and else `other` as it stands; by default `name` itself."""
    return AliasChoices(ENV_PREFIX + name, name if other is None else other)


def aliases(field: FieldInfo) -> list[str]:
    """All names of a field that has several."""
    found = field.validation_alias
    return [str(name) for name in found.choices] if isinstance(found, AliasChoices) else []


def any_set(names: Iterable[str]) -> bool:
    """Whether one of these variables has a value."""
    wanted = set(names)
    return any(value and variable.upper() in wanted for variable, value in os.environ.items())


def disagreements(fields: Iterable[FieldInfo]) -> list[str]:
    """What is wrong where two names of ours for one URL say different things. Without their values."""
    told = {variable.upper(): value.rstrip("/") for variable, value in os.environ.items()}
    problems = []
    for field in fields:
        ours = _ours_in(told, field)
        if len({told[name] for name in ours}) > 1:
            first, *others = ours
            problems.append(f"{' and '.join(others)}: another name for {first}, which says otherwise. Set one of them.")
    return problems


def explained(error: Mapping[str, Any], fields: Iterable[FieldInfo]) -> str:
    """One of pydantic's errors, with the variable as people should write it, or as they did where it has two names."""
    message = str(error["msg"]).removeprefix("Value error, ")
    named = str(error["loc"][0]).upper() if error["loc"] else ""
    if not named:
        return message
    name = named if named.startswith(ENV_PREFIX) else ENV_PREFIX + named
    told = {variable.upper() for variable in os.environ}
    written = [ours for field in fields if name in aliases(field) for ours in _ours_in(told, field)]
    return f"{next(iter(written), name)}: {message}"


def _ours_in(told: Container[str], field: FieldInfo) -> list[str]:
    return [name for name in aliases(field) if name.startswith(ENV_PREFIX) and name in told]


def listed(title: str, problems: Iterable[str]) -> str:
    """One a line, below the title."""
    return "\n".join([title, *(f"  {problem}" for problem in problems)])
