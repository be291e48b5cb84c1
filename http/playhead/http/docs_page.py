"""The documentation as one plain page, made from the OpenAPI document and the tables of codes: no script, no CDN."""

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

from playhead.http.problems import HTTP_REASONS
from playhead.playback.rejections import REASONS

Json = dict[str, Any]


def docs_body(document: Json) -> str:
    """The body of the page, as HTML."""
    info = document["info"]
    parts = [
        f"<h1>{html.escape(info['title'])}</h1><p>{_text(info['description'])}</p>",
        '<p>As a document for programs: <a href="/openapi.json">/openapi.json</a>. The socket protocol: '
        '<a href="/asyncapi.json">/asyncapi.json</a>.</p>',
    ]
    by_tag: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(document, path, method, operation))
    for tag, sections in by_tag.items():
        parts += [f"<h2>{html.escape(tag.capitalize())}</h2>", *sections]
    return "\n".join([*parts, _codes()])


def problem_anchor(code: str) -> str:
    """Where the page documents `code`."""
    return f"problem-{code}"


def _operation(document: Json, path: str, method: str, operation: Json) -> str:
    name = html.escape(operation["operationId"])
    title = f'<span class="method">{method.upper()}</span> {html.escape(path)}'
    parts = [f'<h3 id="{name}"><code>{title}</code></h3><p>{_text(operation["summary"])}</p>']
    if not operation["security"]:
        parts.append("<p>Without an <code>Authorization</code> header.</p>")
    rows = [_parameter_row(parameter) for parameter in operation["parameters"]]
    rows += _body_rows(document, operation)
    if rows:
        parts.append(_table(("field", "in", "meaning"), rows))
    rows = [(f"<code>{status}</code>", _text(row["description"])) for status, row in operation["responses"].items()]
    parts += [_table(("answer", "meaning"), rows), _example(document, operation)]
    return "".join(parts)


def _parameter_row(parameter: Json) -> tuple[str, ...]:
    needed = "" if parameter["required"] else ", optional"
    meaning = parameter.get("description") or _kind(parameter["schema"])
    return f"<code>{html.escape(parameter['name'])}</code>", parameter["in"] + needed, _text(meaning)


def _body_rows(document: Json, operation: Json) -> list[tuple[str, ...]]:
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" not in content:
        return [(f"<code>{html.escape(media_type)}</code>", "body", "the file") for media_type in content]
    schema = _resolved(document, content["application/json"]["schema"])
    return [
        (
            f"<code>{html.escape(name)}</code>",
            "body" if name in schema.get("required", ()) else "body, optional",
            _text(field.get("description") or _kind(field)),
        )
        for name, field in schema["properties"].items()
    ]


def _kind(schema: Json) -> str:
    options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    return " or ".join(str(option.get("format") or option.get("type") or "one of the documented") for option in options)


def _example(document: Json, operation: Json) -> str:
    """The example of the first good answer that has one."""
    for answer in operation["responses"].values():
        schema = answer.get("content", {}).get("application/json", {}).get("schema")
        examples = _resolved(document, schema).get("examples") if schema is not None else None
        if examples:
            return f"<pre>{html.escape(json.dumps(examples[0], indent=2))}</pre>"
    return ""


def _resolved(document: Json, schema: Json) -> Json:
    name = schema["$ref"].rpartition("/")[2]
    found: Json = document["components"]["schemas"][name]
    return found


def _codes() -> str:
    rows = [
        (
            f'<code id="{problem_anchor(code.value)}">{code.value}</code>',
            str(reason.status),
            "yes" if reason.retry else "no",
            _text(reason.message),
        )
        for code, reason in [*REASONS.items(), *HTTP_REASONS.items()]
    ]
    return "<h2>Problems</h2>" + _table(("code", "status", "retry", "meaning"), rows)


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are HTML already."""
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _text(text: str) -> str:
    """Text with `code` in backticks, as HTML."""
    parts = html.escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
