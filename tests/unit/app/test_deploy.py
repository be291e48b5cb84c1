"""docker-compose.yml and the Dockerfile, as far as they can be checked where no Docker engine runs."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from playhead.app.embedded.valkey import PUBSUB_OUTPUT_LIMIT
from playhead.engine.addresses import Addresses
from playhead.runtime.settings import Settings, environment_name, load

ROOT = Path(__file__).resolve().parents[3]
SECRETS = {
    "POSTGRES_PASSWORD": "letters1and2digits",
    "PLAYHEAD_JWT_KEY": "k" * 32,
    "PLAYHEAD_MEDIA_KEYS": json.dumps({"1": "m" * 32}),
}
SETTINGS = {environment_name(name) for name in Settings.model_fields}
RUNTIME_FILES = ("pyproject.toml", "requirements.lock", "README.md", "LICENSE")


def compose(variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "docker-compose"
    command = [str(program), "--file", str(ROOT / "docker-compose.yml"), "config", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", **variables}, cwd="/")


def services() -> dict[str, Any]:
    answer = compose(SECRETS, "--format", "json")
    assert answer.returncode == 0, answer.stderr
    found: dict[str, Any] = json.loads(answer.stdout)["services"]
    return found


def dockerfile() -> str:
    return (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")


def copied() -> list[str]:
    """What the Dockerfile copies from the repository."""
    copies = re.findall(r"^COPY (?!--from)(.+)$", dockerfile(), re.MULTILINE)
    return [source.rstrip("/") for copy in copies for source in copy.split()[:-1]]


def python_roots() -> list[str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        roots: list[str] = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    return roots


def test_compose_accepts_the_file() -> None:
    answer = compose(SECRETS, "-q")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


@pytest.mark.parametrize("name", SECRETS)
def test_a_missing_secret_is_named(name: str) -> None:
    answer = compose({key: value for key, value in SECRETS.items() if key != name}, "-q")
    assert f"Set {name}" in answer.stderr  # the wheel's program exits with 0 all the same


def test_every_variable_in_compose_and_in_the_image_is_a_setting() -> None:
    told = {name for service in services().values() for name in service.get("environment") or {}}
    told |= set(re.findall(r"(PLAYHEAD_\w+)=", dockerfile()))
    assert {name for name in told if name.startswith("PLAYHEAD_")} <= SETTINGS


def test_servers_flusher_and_worker_are_not_told_the_owners_password() -> None:
    found = services()
    for name in ("server", "flusher", "worker"):
        assert SECRETS["POSTGRES_PASSWORD"] not in json.dumps(found[name])
    assert SECRETS["POSTGRES_PASSWORD"] in json.dumps(found["migrate"])


def test_servers_flusher_and_worker_wait_for_the_migrations() -> None:
    found = services()
    for name in ("server", "flusher", "worker"):
        assert found[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert found["migrate"]["restart"] == "no"


def test_the_data_services_have_volumes_of_their_own() -> None:
    found = services()
    for name in ("postgres", "valkey"):
        assert found[name]["volumes"][0]["source"] == name


def test_every_service_that_stays_up_has_a_health_check() -> None:
    """The server's is the image's."""
    checked = {name for name, service in services().items() if service.get("healthcheck", {}).get("test")}
    assert checked | {"server", "migrate"} == set(services())
    assert "healthcheck" not in services()["server"]


def test_valkey_runs_as_the_embedded_one_does() -> None:
    command = " ".join(services()["valkey"]["command"])
    assert f"--client-output-buffer-limit {' '.join(PUBSUB_OUTPUT_LIMIT)}" in command
    assert "--maxmemory-policy noeviction" in command
    assert "--appendonly yes" in command


def test_only_this_machine_reaches_the_published_ports() -> None:
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_the_image_gets_every_python_root_and_nothing_that_is_missing() -> None:
    sources = copied()
    assert [root for root in python_roots() if root not in sources] == []
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert set(RUNTIME_FILES) <= set(sources)


def test_the_build_context_holds_what_is_copied() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    admitted = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert {source.split("/")[0] for source in copied()} == admitted


def test_the_image_runs_as_an_ordinary_user_with_a_safe_path_and_a_health_check() -> None:
    final = dockerfile().rpartition("\nFROM ")[2]
    assert re.search(r"^USER playhead$", final, re.MULTILINE)
    assert "PYTHONSAFEPATH=1" in final
    assert "HEALTHCHECK" in final


def test_a_container_uses_its_cores_unless_it_is_told_otherwise() -> None:
    assert re.search(r"PLAYHEAD_PROCESSES=0\b", dockerfile())
    assert services()["server"]["environment"]["PLAYHEAD_PROCESSES"] == "0"
    told = compose({**SECRETS, "PLAYHEAD_PROCESSES": "3"}, "--format", "json")
    assert json.loads(told.stdout)["services"]["server"]["environment"]["PLAYHEAD_PROCESSES"] == "3"


def test_the_proxy_in_front_of_compose_is_believed_in_whose_sockets_it_passes_on() -> None:
    networks = services()["server"]["environment"]["PLAYHEAD_TRUSTED_PROXIES"]
    assert load(trusted_proxies=networks).trusted_proxies == tuple(networks.split(","))
    assert Addresses(networks.split(",")).of("172.18.0.1", "192.0.2.1") == "192.0.2.1"
