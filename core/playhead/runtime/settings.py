"""Every setting of every process: one model, read from the environment, all errors reported at once.

Each field's description is its documentation: `playhead config` prints it, and docs/settings.md is generated from it.
A command names the settings that it cannot do without (`load(required=…)`), so that `migrate` needs no signing key.
"""

import ipaddress
import json
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from playhead.runtime import database_urls, redis_urls
from playhead.runtime.bucket_urls import bucket_and_prefix
from playhead.runtime.cores import usable_cores
from playhead.runtime.jwt_keys import check_jwt_key
from playhead.runtime.limits import COMMAND_RATE
from playhead.runtime.variables import ENV_PREFIX, aliased, aliases, any_set, disagreements, explained, listed

SECRET_BYTES_MIN = 32
"""HMAC-SHA256 keys shorter than the hash are weak (RFC 7518 section 3.2), as are those of its longer siblings."""
PROCESSES_MAX = 128
ENCODER_SLOTS_MAX = 64
SOURCE_BYTES_MAX = 4 * 1024**3  # of one that was decoded first: a cache of sources must have room for it
JWT_OTHER_KEYS_MAX = 3
"""A token that none of them has signed is checked with each."""

StoreKind = Literal["redis", "memory"]
JwtAlgorithm = Literal["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "EdDSA"]


class SettingsError(Exception):
    """The settings do not fit. Correct the variables that are listed and start again."""


class Settings(BaseSettings):
    """The effective settings of one process."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="ignore", populate_by_name=True)

    database_url: SecretStr | None = Field(
        None,
        validation_alias=aliased("DATABASE_URL"),
        description="PostgreSQL with the owner's login; used by `migrate`, and to derive the other two logins.",
    )
    database_app_url: SecretStr | None = Field(
        None, description="PostgreSQL with the login `playhead_app`, which row level security binds."
    )
    database_service_url: SecretStr | None = Field(
        None,
        description="PostgreSQL with the login `playhead_service`, which writes sessions, scripts' status and jobs.",
    )
    database_pool_size_max: int = Field(8, ge=1, le=200, description="Connections per pool (two pools a process).")
    database_statement_cache_size: int = Field(
        100,
        ge=0,
        le=10_000,
        description="Prepared statements kept per connection; 0 behind a pooler in transaction mode.",
    )
    store: StoreKind = Field(
        "redis",
        description="Where sessions live: `redis`, or `memory` of the only server process, which needs no Redis.",
    )
    processes: int = Field(
        1,
        ge=0,
        le=PROCESSES_MAX,
        description="Server processes of one `serve`, on one port; 0: one for each core, where the store is Redis. "
        "With more than one, sockets need the websocket.",
    )
    redis_url: SecretStr | None = Field(
        None,
        validation_alias=aliased("REDIS_URL"),
        description="Valkey 8+ or Redis 7+, whose maxmemory-policy must be noeviction: redis://, rediss:// or unix://; "
        "or its sentinels: redis+sentinel://user:password@host:26379,host:26379/service/db (rediss+sentinel: for TLS); "
        "or some servers of a cluster: redis+cluster://user:password@host:6379,host:6379 (rediss+cluster: for TLS).",
    )

    data_dir: Path = Field(Path(".playhead"), description="Folder for what the process keeps on disk: logins, media.")
    media_dir: Path | None = Field(
        None, description="Folder for sources and segments; default `media` in the data folder."
    )
    storage_url: str | None = Field(
        None, description="Bucket for sources and segments: s3://BUCKET[/PREFIX]; default: the media folder."
    )
    s3_endpoint: str | None = Field(None, description="Server of the bucket, as https://HOST[/PATH]; default: AWS.")
    s3_region: str = Field("us-east-1", min_length=1, description="Region of the bucket; `auto` for R2.")
    s3_access_key: SecretStr | None = Field(
        None, description="Access key id for the bucket; unset: as AWS's programs find theirs (environment, role)."
    )
    s3_secret_key: SecretStr | None = Field(None, validate_default=True, description="Secret of that access key id.")
    s3_conditional_put: bool = Field(
        True, description="Whether the bucket's server knows `If-None-Match` for writes; `false` where it does not."
    )
    source_cache_bytes_max: int = Field(
        20 * 1024**3,
        ge=SOURCE_BYTES_MAX,
        description="What a machine keeps of a bucket's sources on its disk, in `sources` of its data folder.",
    )

    host: str = Field("127.0.0.1", min_length=1, description="Address the server listens on.")
    port: int = Field(8080, ge=0, le=65_535, description="Port for REST, sockets, media and the player page.")
    metrics_host: str = Field(
        "127.0.0.1", min_length=1, description="Address of the metrics port; keep it inside your network."
    )
    metrics_port: int = Field(9464, ge=0, le=65_535, description="Port of `/metrics`.")
    metrics_dir: Path | None = Field(
        None,
        description="Folder in which the processes of one machine share their metrics; default: one for this process.",
    )
    public_url: str | None = Field(
        None,
        description="How clients reach this server: for stream URLs, and its pages may connect; default http://HOST:PORT.",
    )
    media_url: str | None = Field(
        None,
        validation_alias=aliased("MEDIA_URL", "PLAYHEAD_CDN_BASE_URL"),
        description="Where clients fetch media, when a CDN stands in front; default: public_url.",
    )
    player_dir: Path | None = Field(
        None, description="Folder of the built player page; default: player/dist of the repository."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Origins of other sites whose pages may call this server, separated by commas; `*` for all."
    )

    jwt_algorithms: Annotated[tuple[JwtAlgorithm, ...], NoDecode] = Field(
        ("HS256",), description="Algorithms that tokens may be signed with, separated by commas."
    )
    jwt_key: SecretStr | None = Field(
        None, description="Secret (HS…) or public key in PEM (RS…, ES…, EdDSA) that tokens are verified with."
    )
    jwt_other_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        max_length=JWT_OTHER_KEYS_MAX,
        description='JSON ["key", …]: keys that verify tokens as well, while keys are rotated. Three at most.',
    )
    jwt_audience: str = Field("authenticated", min_length=1, description="The `aud` that a token must carry.")
    jwt_issuer: str | None = Field(None, description="The `iss` that a token must carry; unset: not checked.")
    media_keys: Annotated[dict[str, SecretStr], NoDecode] = Field(
        default_factory=dict,
        description='JSON {"key id": "secret"} for signed media paths: the first signs, all verify. Two at most.',
    )

    upload_bytes_max: int = Field(2 * 1024**3, ge=1, description="Largest file that POST /scripts takes, in bytes.")
    upload_owner_bytes_max: int = Field(
        64 * 1024**3,
        ge=0,
        description="Bytes of files that one listener may keep here whose token lacks `scripts:write`; 0: no limit.",
    )
    encoder_slots: int = Field(
        0,
        ge=0,
        le=ENCODER_SLOTS_MAX,
        validate_default=True,
        description="Encoders (ffmpeg) that a worker runs at once; 0: one for each core that it may use.",
    )
    job_attempts_max: int = Field(
        3, ge=1, le=20, description="Times a transcode is tried before the script is marked failed."
    )
    connections_per_listener_max: int = Field(
        32, ge=1, le=1_000, description="Sockets that one listener may hold at once."
    )
    process_sockets_max: int = Field(
        25_000,
        ge=1,
        le=1_000_000,
        description="Sockets that one process may hold; fewer where its file descriptors are fewer.",
    )
    process_sockets_per_s: int = Field(
        500, ge=1, le=100_000, description="New sockets a second that one process takes in the long run."
    )
    process_sockets_burst: int = Field(500, ge=1, le=100_000, description="New sockets that one process takes at once.")
    process_half_open_max: int = Field(
        4_096,
        ge=1,
        le=100_000,
        description="Connections to one process that have not shown yet who they are; then the oldest is cut.",
    )
    process_descriptors_reserved: int = Field(
        512,
        ge=64,
        le=100_000,
        description="File descriptors of a process that connections leave free: for databases, Redis, media, ffmpeg.",
    )
    address_sockets_max: int = Field(
        1_000,
        ge=1,
        le=1_000_000,
        description="Sockets from one address (of IPv6: one /64) that one process may hold.",
    )
    address_sockets_per_s: int = Field(
        50, ge=1, le=100_000, description="New sockets a second from one address that one process takes."
    )
    address_sockets_burst: int = Field(
        200, ge=1, le=100_000, description="New sockets from one address that one process takes at once."
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        ("127.0.0.0/8", "::1/128"),
        description="Networks of proxies that are believed in `X-Forwarded-For`, separated by commas. Where such a one "
        "tells no address, limits per address do not hold.",
    )
    connection_events_per_s: int = Field(
        COMMAND_RATE.per_s,
        ge=1,
        le=10_000,
        description="Events of a socket, and requests of a listener to one process, a second in the long run.",
    )
    connection_events_burst: int = Field(
        COMMAND_RATE.burst,
        ge=1,
        le=100_000,
        description="Events of a socket, and requests of a listener to one process, at once.",
    )
    socket_write_bytes_max: int = Field(
        262_144, ge=16_384, le=67_108_864, description="Bytes that may wait for a socket to read them; then it is cut."
    )
    drain_s: float = Field(
        5.0,
        ge=0,
        le=300,
        description="Seconds that a stopping process serves its sockets until they have gone elsewhere; "
        "no more than the grace.",
    )
    shutdown_grace_s: float = Field(
        10.0, ge=0, le=300, description="Seconds that a stopping process waits for what is in flight."
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged."
    )
    log_format: Literal["json", "console"] = Field("json", description="`json` for machines, `console` for people.")

    @field_validator("cors_origins", "jwt_algorithms", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("jwt_algorithms")
    @classmethod
    def _one_family(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("name at least one algorithm")
        if len({name.startswith("HS") for name in value}) > 1:
            raise ValueError("HS… takes a secret and the others a public key: name algorithms of one kind only")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                ipaddress.ip_network(text)
            except ValueError as error:
                raise ValueError(f"{error}; write a network as 10.0.0.0/8, an address as it is") from None
        return value

    @field_validator("media_keys", "jwt_other_keys", mode="before")
    @classmethod
    def _from_json(cls, value: object, info: ValidationInfo) -> object:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError:
            example = '{"key id": "secret"}' if info.field_name == "media_keys" else '["key"]'
            raise ValueError(f"must be JSON, as in {example}") from None

    @field_validator("media_keys")
    @classmethod
    def _strong_media_keys(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        if len(value) > 2:
            raise ValueError("two keys at most: the one that signs and the one before it")
        for key_id, secret in value.items():
            if len(secret.get_secret_value().encode()) < SECRET_BYTES_MIN:
                raise ValueError(f"the secret of key {key_id!r} is shorter than {SECRET_BYTES_MIN} bytes")
        return value

    @field_validator("processes")
    @classmethod
    def _processes(cls, value: int, info: ValidationInfo) -> int:
        in_memory = info.data.get("store") == "memory"
        if value == 0:
            return 1 if in_memory else min(usable_cores(), PROCESSES_MAX)
        if value > 1 and in_memory:
            raise ValueError("must be 1 where PLAYHEAD_STORE is memory, as processes share sessions through Redis")
        return value

    @field_validator("encoder_slots")
    @classmethod
    def _slots(cls, value: int) -> int:
        return value or min(usable_cores(), ENCODER_SLOTS_MAX)

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and value.get_secret_value():
            redis_urls.check_url(value.get_secret_value())
        return value

    @field_validator("database_url", "database_app_url", "database_service_url")
    @classmethod
    def _postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and value.get_secret_value():
            database_urls.check_url(value.get_secret_value())
        return value

    @field_validator("storage_url")
    @classmethod
    def _bucket(cls, value: str | None) -> str | None:
        if value is not None:
            bucket_and_prefix(value)
        return value

    @field_validator("s3_secret_key")
    @classmethod
    def _both_keys(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if bool(value) != bool(info.data.get("s3_access_key")):
            raise ValueError("belongs to PLAYHEAD_S3_ACCESS_KEY: set both or none")
        return value

    @field_validator("public_url", "media_url", "s3_endpoint")
    @classmethod
    def _no_slash_at_the_end(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        if value is not None and not value.partition("//")[2].strip("/"):
            raise ValueError("must name a host after http:// or https://")
        return None if value is None else value.rstrip("/")

    @field_validator("upload_bytes_max")
    @classmethod
    def _cacheable(cls, value: int, info: ValidationInfo) -> int:
        if info.data.get("storage_url") and value > info.data.get("source_cache_bytes_max", value):
            raise ValueError("an upload must find room in PLAYHEAD_SOURCE_CACHE_BYTES_MAX: enlarge that or lower this")
        return value

    @field_validator("jwt_key", "jwt_other_keys")
    @classmethod
    def _strong_jwt_keys(cls, value: Any, info: ValidationInfo) -> Any:
        for key in value if isinstance(value, tuple) else (value,):
            if key is not None and info.data.get("jwt_algorithms"):
                check_jwt_key(key.get_secret_value(), info.data["jwt_algorithms"])
        return value

    @property
    def media_path(self) -> Path:
        return self.media_dir or self.data_dir / "media"

    @property
    def public_base_url(self) -> str:
        return self.public_url or f"http://{self.host}:{self.port}"

    @property
    def media_base_url(self) -> str:
        return self.media_url or self.public_base_url


def environment_name(field: str) -> str:
    """The variable that sets `field`, as people should write it."""
    return ENV_PREFIX + field.upper()


def load(required: Collection[str] = (), **overrides: Any) -> Settings:
    """Settings from the environment, with `overrides` (by field name) on top.

    Raises SettingsError that lists every wrong and every missing variable, one a line, without any value.
    """
    problems = disagreements(field for name, field in Settings.model_fields.items() if name not in overrides)
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        problems += [
            explained(row, Settings.model_fields.values())
            for row in error.errors(include_input=False, include_url=False)
        ]
    if problems:
        missing = [_lacking(name) for name in required if not overrides.get(name) and not _in_environment(name)]
        raise SettingsError(listed("The settings do not fit:", [*problems, *missing])) from None
    missing = [_lacking(name) for name in required if not getattr(settings, name) and not _spared(settings, name)]
    if missing:
        raise SettingsError(listed("Settings are missing:", missing))
    return settings


def _spared(settings: Settings, name: str) -> bool:
    """Sessions in memory need no Redis."""
    return name == "redis_url" and settings.store == "memory"


def _lacking(name: str) -> str:
    return f"{environment_name(name)} is not set: {Settings.model_fields[name].description}"


def _in_environment(name: str) -> bool:
    """Whether a variable sets this field, by any of its names."""
    return any_set({environment_name(name), *aliases(Settings.model_fields[name])})
