"""`edge/wrangler.toml`, which only Cloudflare's own program reads, says what the Worker's code asks for."""

import json
import re
import tomllib
from datetime import date
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
EDGE = ROOT / "edge"
TOML = (EDGE / "wrangler.toml").read_text()
DEPLOYED = tomllib.loads(TOML)
HOW_TO = (ROOT / "docs" / "edge.md").read_text()
CODE = {path.name: path.read_text() for path in sorted((EDGE / "src").glob("*.ts"))}
FOR_TESTS = {"CLOUDFLARE_API_URL"}
"""Where the purge goes in tests; Cloudflare's own address otherwise."""


def _declared() -> dict[str, str]:
    """What the Worker may be given, by name, each with what is said of it: TypeScript lets it read nothing else."""
    interface = CODE["settings.ts"].partition("export interface Env {")[2].partition("\n}")[0]
    told = ""
    found = {}
    for line in interface.splitlines():
        if (member := re.match(r"\s+readonly (\w+)\??:", line)) is not None:
            found[member[1]] = told
        else:
            told = line
    return found


def _read() -> set[str]:
    """The names that the code takes from `env`, one by one or several at once."""
    text = "\n".join(CODE.values())
    several = re.findall(r"\{([^{}]*)\} = env;", text)
    return {*re.findall(r"\benv\.(\w+)", text), *re.findall(r"(\w+):", " ".join(several))}


DECLARED = _declared()
SECRETS = {"MEDIA_KEYS", "PURGE_SECRET", "CLOUDFLARE_API_TOKEN"}
VARIABLES = set(DECLARED) - SECRETS - FOR_TESTS


def test_the_code_reads_what_it_declares() -> None:
    assert _read() == set(DECLARED) == SECRETS | VARIABLES | FOR_TESTS
    assert {name for name, told in DECLARED.items() if told.strip().startswith("/** Secret.")} <= SECRETS


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_every_variable_stands_in_the_file_if_only_to_be_filled_in(name: str) -> None:
    section = TOML.partition("[vars]\n")[2].partition("\n[")[0]
    assert re.search(rf"^(# )?{name} = \"", section, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_every_secret_is_named_as_one_in_the_file_and_in_the_instructions_and_has_no_value_there(name: str) -> None:
    assert name not in DEPLOYED["vars"] and f"{name} =" not in TOML
    assert re.search(rf"^#.*secrets?\b.*\b{name}\b", TOML, re.MULTILINE)
    assert re.search(rf"secret put {name}`|secrets [^.]*`{name}`", HOW_TO)


def test_nothing_is_set_that_the_code_does_not_read() -> None:
    assert set(DEPLOYED["vars"]) <= VARIABLES
    assert set(DEPLOYED) == {"name", "main", "compatibility_date", "workers_dev", "routes", "vars", "observability"}


def test_what_is_deployed_is_there_and_is_what_is_tested() -> None:
    entry = EDGE / DEPLOYED["main"]
    assert entry.is_file() and "export default {" in entry.read_text()
    dated = DEPLOYED["compatibility_date"]
    assert date.fromisoformat(dated) > date(2024, 1, 1)
    tested = {
        path.name: re.findall(r'compatibilityDate: "([^"]*)"', path.read_text())
        for path in (EDGE / "serve.mjs", *(EDGE / "test").rglob("*.ts"))
    }
    assert {name: dates for name, dates in tested.items() if dates} == {"serve.mjs": [dated], "edge.ts": [dated]}


def test_the_instructions_name_the_wrangler_that_deploys() -> None:
    deploying = json.loads((EDGE / "package.json").read_text())["scripts"]["deploy"]
    (version,) = re.findall(r"wrangler@([\d.]+)", deploying)
    assert set(re.findall(r"wrangler@([\d.]+)", HOW_TO)) == {version}
