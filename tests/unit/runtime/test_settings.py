"""Settings: what each accepts, that all errors come at once, and that a secret is never seen."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from playhead.runtime import settings as settings_module
from playhead.runtime.cores import usable_cores
from playhead.runtime.settings import (
    ENCODER_SLOTS_MAX,
    PROCESSES_MAX,
    SECRET_BYTES_MIN,
    Settings,
    SettingsError,
    environment_name,
    load,
)

SECRET = "s3cret-" + "x" * SECRET_BYTES_MIN
SHORT_SECRET = "tiny-s3cret"
PEM = f"-----BEGIN PUBLIC KEY-----\n{SECRET}\n-----END PUBLIC KEY-----"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An environment in which nothing of ours is set."""
    for field in Settings.model_fields:
        monkeypatch.delenv(environment_name(field), raising=False)
    for alias in ("DATABASE_URL", "REDIS_URL", "PLAYHEAD_CDN_BASE_URL"):
        monkeypatch.delenv(alias, raising=False)
    yield monkeypatch


def problems(*required: str, **overrides: object) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(required, **overrides)
    return str(caught.value).splitlines()[1:]


def test_without_any_variable_the_defaults_serve_one_machine() -> None:
    settings = load()
    assert (settings.host, settings.port, settings.metrics_port) == ("127.0.0.1", 8080, 9464)
    assert settings.media_path == Path(".playhead/media")
    assert settings.public_base_url == settings.media_base_url == "http://127.0.0.1:8080"
    assert settings.media_keys == {} and settings.jwt_key is None


def test_variables_set_fields_and_overrides_come_first(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PLAYHEAD_PORT", "9000")
    environment.setenv("playhead_host", "0.0.0.0")
    environment.setenv("PLAYHEAD_CORS_ORIGINS", "https://a.example, https://b.example,")
    environment.setenv("PLAYHEAD_JWT_ALGORITHMS", "RS256, ES256")
    settings = load(data_dir=Path("/elsewhere"), port=9001)
    assert (settings.host, settings.port) == ("0.0.0.0", 9001)
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.jwt_algorithms == ("RS256", "ES256")
    assert settings.media_path == Path("/elsewhere/media")


def test_addresses_for_clients_and_for_media_build_on_each_other(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PLAYHEAD_PUBLIC_URL", "https://listen.example/app//")
    assert load().public_base_url == load().media_base_url == "https://listen.example/app"
    environment.setenv("PLAYHEAD_MEDIA_URL", "https://cdn.example/")
    assert load().media_base_url == "https://cdn.example"
    assert load(media_dir=Path("/media")).media_path == Path("/media")


@pytest.mark.parametrize(("alias", "field"), [("DATABASE_URL", "database_url"), ("REDIS_URL", "redis_url")])
def test_the_usual_names_work_and_ours_come_before_them(
    environment: pytest.MonkeyPatch, alias: str, field: str
) -> None:
    scheme = "postgresql" if field == "database_url" else "redis"
    environment.setenv(alias, f"{scheme}://theirs")
    assert getattr(load([field]), field).get_secret_value() == f"{scheme}://theirs"
    environment.setenv(f"PLAYHEAD_{alias}", f"{scheme}://ours")
    assert getattr(load([field]), field).get_secret_value() == f"{scheme}://ours"


def test_where_media_are_has_two_names_that_must_agree(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("playhead_cdn_base_url", "https://cdn.example/media/")
    assert load(["media_url"]).media_base_url == "https://cdn.example/media"
    environment.setenv("PLAYHEAD_MEDIA_URL", "https://cdn.example/media")
    assert load().media_base_url == "https://cdn.example/media"
    environment.setenv("PLAYHEAD_MEDIA_URL", "https://me:s3cret@other.example")
    environment.setenv("PLAYHEAD_PORT", "x")
    told = problems()
    assert [line.split(":")[0] for line in told] == ["  PLAYHEAD_CDN_BASE_URL", "  PLAYHEAD_PORT"]
    assert "PLAYHEAD_MEDIA_URL" in told[0] and "cdn.example" not in told[0] and "s3cret" not in told[0]
    assert load(media_url="https://mine.example", port=1).media_base_url == "https://mine.example"


@pytest.mark.parametrize("name", ["PLAYHEAD_MEDIA_URL", "PLAYHEAD_CDN_BASE_URL"])
def test_a_wrong_place_of_media_is_told_by_the_name_that_was_set(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(name, "ftp://cdn.example")
    (problem,) = problems()
    assert problem.startswith(f"  {name}: ") and "http://" in problem


@pytest.mark.parametrize("name", ["DATABASE_URL", "DATABASE_APP_URL", "DATABASE_SERVICE_URL", "REDIS_URL"])
def test_a_url_of_another_kind_of_server_is_refused(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(f"PLAYHEAD_{name}", "mysql://me:secret@host/name")
    with pytest.raises(SettingsError, match=f"PLAYHEAD_{name}: must begin with") as caught:
        load()
    assert "secret" not in str(caught.value)


def test_media_keys_keep_their_order_because_the_first_signs(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PLAYHEAD_MEDIA_KEYS", f'{{"z": "{SECRET}", "a": "{SECRET}"}}')
    assert list(load(["media_keys"]).media_keys) == ["z", "a"]


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("PORT", "65536", "65535"),
        ("PORT", "-1", "0"),
        ("PORT", "http", "integer"),
        ("DATABASE_POOL_SIZE_MAX", "0", "1"),
        ("UPLOAD_BYTES_MAX", "0", "1"),
        ("CONNECTION_EVENTS_PER_S", "0", "1"),
        ("CONNECTION_EVENTS_PER_S", "10001", "10000"),
        ("CONNECTION_EVENTS_BURST", "0", "1"),
        ("CONNECTION_EVENTS_BURST", "100001", "100000"),
        ("SHUTDOWN_GRACE_S", "-1", "0"),
        ("SHUTDOWN_GRACE_S", "nan", ""),
        ("LOG_FORMAT", "xml", "json"),
        ("LOG_LEVEL", "loud", "debug"),
        ("JWT_AUDIENCE", "", "1"),
        ("JWT_ALGORITHMS", "none", "HS256"),
        ("JWT_ALGORITHMS", ",", "at least one"),
        ("JWT_ALGORITHMS", "HS256,RS256", "one kind"),
        ("JWT_KEY", SHORT_SECRET, "32 bytes"),
        ("JWT_KEY", PEM, "a secret"),
        ("JWT_OTHER_KEYS", SECRET, 'JSON, as in ["key"]'),
        ("JWT_OTHER_KEYS", f'["{SHORT_SECRET}"]', "32 bytes"),
        ("JWT_OTHER_KEYS", json.dumps([PEM]), "a secret"),
        ("JWT_OTHER_KEYS", json.dumps([SECRET] * 4), "at most 3"),
        ("PUBLIC_URL", "listen.example", "http://"),
        ("PUBLIC_URL", "", "http://"),
        ("PUBLIC_URL", "https://", "host"),
        ("MEDIA_URL", "ftp://cdn.example", "http://"),
        ("MEDIA_KEYS", "{broken", "JSON"),
        ("MEDIA_KEYS", '["a"]', "dictionary"),
        ("MEDIA_KEYS", '{"a": 3}', "string"),
        ("MEDIA_KEYS", f'{{"a": "{SHORT_SECRET}"}}', "shorter than 32"),
        ("MEDIA_KEYS", f'{{"a": "{SECRET}", "b": "{SECRET}", "c": "{SECRET}"}}', "two keys"),
    ],
)
def test_a_wrong_value_is_named_with_its_rule(
    environment: pytest.MonkeyPatch, name: str, value: str, rule: str
) -> None:
    environment.setenv(f"PLAYHEAD_{name}", value)
    (problem,) = problems()
    assert problem.startswith(f"  PLAYHEAD_{name}: ") and rule in problem


def test_a_public_key_must_look_like_one(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PLAYHEAD_JWT_ALGORITHMS", "EdDSA")
    environment.setenv("PLAYHEAD_JWT_KEY", SECRET)
    assert "public key in PEM" in problems()[0]
    environment.setenv("PLAYHEAD_JWT_KEY", PEM)
    assert load(["jwt_key"]).jwt_key is not None


def test_a_longer_hash_takes_a_longer_secret(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PLAYHEAD_JWT_ALGORITHMS", "HS256,HS512")
    environment.setenv("PLAYHEAD_JWT_KEY", "x" * 63)
    assert "at least 64 bytes" in problems()[0]
    environment.setenv("PLAYHEAD_JWT_KEY", "x" * 64)
    assert load(["jwt_key"])


def test_everything_that_is_wrong_or_missing_is_told_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PLAYHEAD_PORT", "x")
    environment.setenv("PLAYHEAD_JWT_KEY", SHORT_SECRET)
    environment.setenv("PLAYHEAD_MEDIA_KEYS", "{broken")
    environment.setenv("DATABASE_URL", "postgres://")
    told = problems("redis_url", "jwt_key", "media_keys", "database_url", "port", "metrics_dir", metrics_dir=Path("m"))
    names = [line.split()[0].rstrip(":") for line in told]
    assert names == ["PLAYHEAD_PORT", "PLAYHEAD_JWT_KEY", "PLAYHEAD_MEDIA_KEYS", "PLAYHEAD_REDIS_URL"]


def test_each_missing_setting_is_named_with_what_it_is_for(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PLAYHEAD_JWT_KEY", "")
    environment.setenv("PLAYHEAD_JWT_ALGORITHMS", "HS256")
    told = problems("redis_url", "media_keys")
    assert told[0].startswith("  PLAYHEAD_JWT_KEY")
    environment.delenv("PLAYHEAD_JWT_KEY")
    environment.setenv("PLAYHEAD_MEDIA_KEYS", "{}")
    told = problems("redis_url", "media_keys", "port")
    assert [line.split()[0] for line in told] == ["PLAYHEAD_REDIS_URL", "PLAYHEAD_MEDIA_KEYS"]
    assert all("is not set: " in line for line in told)


def test_a_secret_is_never_seen(environment: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "DATABASE_APP_URL", "DATABASE_SERVICE_URL"):
        environment.setenv(f"PLAYHEAD_{name}", f"postgres://me:{SECRET}@host/name")
    environment.setenv("PLAYHEAD_REDIS_URL", f"redis://me:{SECRET}@host")
    environment.setenv("PLAYHEAD_JWT_KEY", SECRET)
    environment.setenv("PLAYHEAD_MEDIA_KEYS", f'{{"kid": "{SECRET}"}}')
    environment.setenv("PLAYHEAD_JWT_OTHER_KEYS", f'["{SECRET}"]')
    settings = load()
    assert [key.get_secret_value() for key in settings.jwt_other_keys] == [SECRET]
    for text in (repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())):
        assert "s3cret" not in text and "kid" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_KEY", SHORT_SECRET),
        ("MEDIA_KEYS", f'{{"a": "{SHORT_SECRET}"}}'),
        ("MEDIA_KEYS", f"{SECRET} no JSON"),
        ("JWT_OTHER_KEYS", f'["{SHORT_SECRET}"]'),
    ],
)
def test_a_wrong_secret_is_not_repeated_in_its_error(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(f"PLAYHEAD_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load()
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


@pytest.mark.parametrize(("per_s", "burst"), [(1, 1), (10_000, 100_000)])
def test_at_their_limits_the_events_of_a_socket_may_be_limited(
    environment: pytest.MonkeyPatch, per_s: int, burst: int
) -> None:
    environment.setenv("PLAYHEAD_CONNECTION_EVENTS_PER_S", str(per_s))
    environment.setenv("PLAYHEAD_CONNECTION_EVENTS_BURST", str(burst))
    settings = load()
    assert (settings.connection_events_per_s, settings.connection_events_burst) == (per_s, burst)


@pytest.mark.parametrize("processes", [1, PROCESSES_MAX])
def test_at_their_limits_there_may_be_so_many_processes(environment: pytest.MonkeyPatch, processes: int) -> None:
    environment.setenv("PLAYHEAD_PROCESSES", str(processes))
    assert load().processes == processes


def test_nought_is_one_process_for_each_core_and_one_where_sessions_are_in_memory() -> None:
    assert load(processes=0).processes == usable_cores()
    assert load(processes=0, store="memory").processes == 1


@pytest.mark.parametrize("slots", [1, ENCODER_SLOTS_MAX])
def test_at_their_limits_a_worker_may_have_so_many_encoders(environment: pytest.MonkeyPatch, slots: int) -> None:
    environment.setenv("PLAYHEAD_ENCODER_SLOTS", str(slots))
    assert load().encoder_slots == slots


@pytest.mark.parametrize("slots", [-1, ENCODER_SLOTS_MAX + 1])
def test_past_their_limits_it_may_not_have_them(environment: pytest.MonkeyPatch, slots: int) -> None:
    environment.setenv("PLAYHEAD_ENCODER_SLOTS", str(slots))
    (problem,) = problems()
    assert problem.startswith("  PLAYHEAD_ENCODER_SLOTS: ")


@pytest.mark.parametrize(("cores", "slots"), [(1, 1), (2, 2), (16, 16), (ENCODER_SLOTS_MAX + 1, ENCODER_SLOTS_MAX)])
def test_a_worker_has_an_encoder_for_each_core_unless_it_is_told(
    monkeypatch: pytest.MonkeyPatch, cores: int, slots: int
) -> None:
    monkeypatch.setattr(settings_module, "usable_cores", lambda: cores)
    assert load().encoder_slots == load(encoder_slots=0).encoder_slots == slots
    assert load(encoder_slots=3).encoder_slots == 3


@pytest.mark.parametrize("processes", [-1, PROCESSES_MAX + 1])
def test_past_their_limits_there_may_not(environment: pytest.MonkeyPatch, processes: int) -> None:
    environment.setenv("PLAYHEAD_PROCESSES", str(processes))
    (problem,) = problems()
    assert "PLAYHEAD_PROCESSES" in problem


def test_sessions_in_memory_are_those_of_one_process(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PLAYHEAD_STORE", "memory")
    assert load(processes=1).processes == 1
    (problem,) = problems(processes=2)
    assert "PLAYHEAD_PROCESSES" in problem and "PLAYHEAD_STORE" in problem and "Redis" in problem


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().port = 1


@pytest.mark.parametrize("field", Settings.model_fields)
def test_every_setting_is_documented(field: str) -> None:
    description = Settings.model_fields[field].description
    assert description and description.endswith(".")


def test_networks_of_proxies_are_read_and_what_is_none_is_told(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PLAYHEAD_TRUSTED_PROXIES", "10.0.0.0/8, 2001:db8::1")
    assert load().trusted_proxies == ("10.0.0.0/8", "2001:db8::1")
    environment.setenv("PLAYHEAD_TRUSTED_PROXIES", "10.0.0.1/8")
    with pytest.raises(SettingsError, match=r"PLAYHEAD_TRUSTED_PROXIES: 10\.0\.0\.1/8 has host bits set"):
        load()


@pytest.mark.parametrize("url", ["s3://media", "s3://media.example.org/play-head/a_1", "s3://" + "b" * 63])
def test_buckets_are_named_by_a_url(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("PLAYHEAD_STORAGE_URL", url)
    assert load().storage_url == url


@pytest.mark.parametrize(
    "url",
    [
        "media",
        "https://media",
        "s3://",
        "s3://me",
        "s3://media/",
        "s3://media/../other",
        "s3://media/a//b",
        "s3://Media",
        "s3://key:secret@media",
        "s3://" + "b" * 64,
        "s3://media?region=x",
    ],
)
def test_what_names_no_bucket_is_refused(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("PLAYHEAD_STORAGE_URL", url)
    [problem] = problems()
    assert problem.startswith("  PLAYHEAD_STORAGE_URL: must be s3://BUCKET") and "secret@" not in problem


@pytest.mark.parametrize("name", ["PLAYHEAD_S3_ACCESS_KEY", "PLAYHEAD_S3_SECRET_KEY"])
def test_one_key_of_a_bucket_is_none(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(name, SECRET)
    [problem] = problems()
    assert problem.startswith("  PLAYHEAD_S3_SECRET_KEY: belongs to PLAYHEAD_S3_ACCESS_KEY") and SECRET not in problem


def test_both_keys_of_a_bucket_are_taken_and_never_seen(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PLAYHEAD_S3_ACCESS_KEY", SECRET)
    environment.setenv("PLAYHEAD_S3_SECRET_KEY", SECRET)
    assert SECRET not in repr(load())


@pytest.mark.parametrize(("cache_bytes", "fits"), [(5_000_000_000, True), (4_999_999_999, False)])
def test_an_upload_must_find_room_in_the_cache_of_sources(
    environment: pytest.MonkeyPatch, cache_bytes: int, fits: bool
) -> None:
    environment.setenv("PLAYHEAD_STORAGE_URL", "s3://media")
    environment.setenv("PLAYHEAD_UPLOAD_BYTES_MAX", "5000000000")
    environment.setenv("PLAYHEAD_SOURCE_CACHE_BYTES_MAX", str(cache_bytes))
    if fits:
        assert load().upload_bytes_max == 5_000_000_000
    else:
        assert "PLAYHEAD_SOURCE_CACHE_BYTES_MAX" in problems()[0]
    environment.delenv("PLAYHEAD_STORAGE_URL")
    assert load().upload_bytes_max == 5_000_000_000, "without a bucket there is no such cache"
