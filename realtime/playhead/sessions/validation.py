"""What is wrong with a payload, in one line that names each field and its rule, without repeating the values."""

from pydantic import ValidationError

PROBLEMS_MAX = 10


def explain(error: ValidationError) -> str:
    rows = error.errors(include_url=False, include_input=False, include_context=False)
    parts = []
    for row in rows[:PROBLEMS_MAX]:
        field = ".".join(str(part) for part in row["loc"])
        message = row["msg"].removeprefix("Value error, ")
        parts.append(f"{field}: {message}" if field else message)
    return "; ".join(parts)
