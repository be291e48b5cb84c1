"""What `playhead run` starts with which settings, and the links that it prints."""

import argparse
import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from playhead.app.development.backing import Backing
from playhead.app.development.invitation import LISTENER_ID, invitations, listener_token
from playhead.app.development.keys import DevelopmentKeys, KeysDamaged, development_keys
from playhead.app.development.options import add_options, options_of
from playhead.app.development.plan import PlanImpossible, addresses, children, common_environment
from playhead.auth.tokens import TokenVerifier
from playhead.runtime.settings import Settings, load

KEYS = DevelopmentKeys(jwt_key="j" * 43, media_key="m" * 43)
BACKING = Backing(app_url="postgresql://app@/x", service_url="postgresql://service@/x", redis_url="unix:///x")
FOLDER = Path("/data")


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(f"PLAYHEAD_{field.upper()}", raising=False)


def environment(settings: Settings) -> dict[str, str]:
    return common_environment(settings, FOLDER, BACKING, KEYS, None)


def test_servers_listen_on_consecutive_ports() -> None:
    places = addresses(load(port=9000, metrics_port=9100), 3)
    assert [(place.port, place.metrics_port) for place in places] == [(9000, 9100), (9001, 9101), (9002, 9102)]
    assert [place.public_url for place in places] == [f"http://127.0.0.1:{port}" for port in (9000, 9001, 9002)]


@pytest.mark.parametrize(("host", "local"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]")])
def test_a_server_for_the_whole_network_is_linked_by_an_address_that_others_reach(host: str, local: str) -> None:
    (place,) = addresses(load(host=host), 1)
    assert (place.host, place.local_url) == (host, f"http://{local}:8080")
    outside = urlsplit(place.public_url).hostname
    assert outside not in {"0.0.0.0", "::", None} and (":" in str(outside)) is (":" in host)


@pytest.mark.parametrize(
    ("port", "metrics_port", "servers", "told"),
    [
        (0, 9464, 1, r"Port 0 will not do.*from 1 to 65535 with --port or PLAYHEAD_PORT"),
        (65_535, 9464, 2, r"Port 65535 will not do, as 2 ports.*from 1 to 65534 with --port"),
        (8080, 0, 1, r"Port 0 will not do.*with --metrics-port or PLAYHEAD_METRICS_PORT"),
        (8080, 65_535, 1, r"Port 65535 will not do, as [23] ports.*with --metrics-port"),
        (9464, 9464, 1, "Port 9464 would be a server's and also a metrics port"),
        (9463, 9464, 2, "Port 9464 would be a server's and also a metrics port"),
    ],
)
def test_ports_that_cannot_all_be_had_are_told_before_anything_starts(
    port: int, metrics_port: int, servers: int, told: str
) -> None:
    with pytest.raises(PlanImpossible, match=told):
        addresses(load(port=port, metrics_port=metrics_port), servers)


def test_the_last_ports_of_all_will_do() -> None:
    assert [place.port for place in addresses(load(port=65_534), 2)] == [65_534, 65_535]


def test_an_ipv6_address_is_put_in_brackets() -> None:
    (place,) = addresses(load(host="::1"), 1)
    assert place.local_url == place.public_url == "http://[::1]:8080"


def test_a_public_url_that_is_set_stands() -> None:
    (place,) = addresses(load(public_url="https://audio.example"), 1)
    assert place.public_url == "https://audio.example"


def test_missing_keys_are_filled_in_and_given_ones_stand() -> None:
    filled = environment(load())
    assert filled["PLAYHEAD_JWT_KEY"] == KEYS.jwt_key
    assert json.loads(filled["PLAYHEAD_MEDIA_KEYS"]) == {"development": KEYS.media_key}
    given = environment(load(jwt_key="g" * 32, media_keys={"1": "h" * 32}))
    assert not {"PLAYHEAD_JWT_KEY", "PLAYHEAD_MEDIA_KEYS"} & given.keys()


def test_logs_are_for_people_unless_told_otherwise() -> None:
    assert environment(load())["PLAYHEAD_LOG_FORMAT"] == "console"
    assert "PLAYHEAD_LOG_FORMAT" not in environment(load(log_format="json"))
    assert environment(load())["PLAYHEAD_DRAIN_S"] == "0"
    assert "PLAYHEAD_DRAIN_S" not in environment(load(drain_s=3))


def test_flusher_and_worker_have_metrics_ports_of_their_own() -> None:
    places = addresses(load(), 2)
    started = children(load(), ["playhead"], places, {"DATABASE_URL": "owner"}, {"PLAYHEAD_DATA_DIR": "/data"}, FOLDER)
    ports = [child.environment["PLAYHEAD_METRICS_PORT"] for child in started]
    assert ports == ["9464", "9465", "9466", "9467"]
    assert [child.arguments[-1] for child in started] == ["serve", "serve", "flush", "worker"]
    assert all("DATABASE_URL" not in child.environment for child in started)


def test_with_the_store_in_memory_there_is_one_server_no_flusher_and_no_redis() -> None:
    settings = load(store="memory")
    started = children(settings, ["playhead"], addresses(settings, 1), {}, {}, FOLDER)
    assert [child.arguments[-1] for child in started] == ["serve", "worker"]
    assert [child.environment["PLAYHEAD_METRICS_PORT"] for child in started] == ["9464", "9465"]
    backing = Backing(app_url="postgresql://app@/x", service_url="postgresql://service@/x", redis_url=None)
    told = common_environment(settings, FOLDER, backing, KEYS, None)
    assert told["PLAYHEAD_STORE"] == "memory" and "PLAYHEAD_REDIS_URL" not in told
    with pytest.raises(PlanImpossible, match="there is one server"):
        addresses(settings, 2)


def test_secrets_do_not_show_when_things_are_printed() -> None:
    places = addresses(load(), 1)
    token = listener_token(load(), KEYS)
    assert token is not None
    started = children(load(), [], places, {}, environment(load()), FOLDER)
    shown = repr([BACKING, KEYS, *invitations(token, places, None), *started])
    assert not [secret for secret in (KEYS.jwt_key, KEYS.media_key, token, BACKING.app_url) if secret in shown]


def test_a_link_holds_a_token_of_the_listener_the_device_and_the_script() -> None:
    token = listener_token(load(), KEYS)
    assert token is not None
    links = [urlsplit(invitation.link) for invitation in invitations(token, addresses(load(), 2), "a-script")]
    assert [link.netloc for link in links] == ["127.0.0.1:8080", "127.0.0.1:8081"]
    fields = [parse_qs(link.fragment) for link in links]
    assert [field["device"] for field in fields] == [["Phone"], ["Desk"]]
    assert [field["script"] for field in fields] == [["a-script"], ["a-script"]]
    principal = TokenVerifier(KEYS.jwt_key, ["HS256"], "authenticated").verify(fields[0]["token"][0])
    assert (principal.listener_id, principal.may_publish) == (LISTENER_ID, True)


def test_where_others_sign_the_tokens_there_is_none_to_give() -> None:
    assert listener_token(load(jwt_algorithms=("RS256",)), KEYS) is None


def test_keys_are_made_once(tmp_path: Path) -> None:
    first = development_keys(tmp_path)
    assert development_keys(tmp_path) == first
    assert len({first.jwt_key, first.media_key}) == 2
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "{", "[]", '{"jwt_key": "x"}'])
def test_damaged_keys_say_which_file_to_remove(tmp_path: Path, content: str) -> None:
    (tmp_path / "keys.json").write_text(content)
    with pytest.raises(KeysDamaged, match=r"keys\.json is damaged .* Remove it"):
        development_keys(tmp_path)


@pytest.mark.parametrize(("arguments", "processes"), [([], "1"), (["--processes", "3"], "3")])
def test_servers_are_told_how_many_processes_they_are(arguments: list[str], processes: str) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    given = options_of(parser.parse_args(arguments)).given_settings()
    assert environment(load(**given))["PLAYHEAD_PROCESSES"] == processes
