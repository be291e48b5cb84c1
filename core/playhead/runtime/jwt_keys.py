"""Which keys fit to which algorithms of tokens: secrets to HS…, public keys in PEM to the others."""

from collections.abc import Sequence

PEM_START = "-----BEGIN "


def check_jwt_key(key: str, algorithms: Sequence[str]) -> None:
    """Raises ValueError, without the key, when it cannot verify what those sign. They are all of one kind."""
    algorithm = algorithms[0]
    if key.startswith(PEM_START) is algorithm.startswith("HS"):
        raise ValueError(
            f"{algorithm} takes {'a secret, not a' if key.startswith(PEM_START) else 'a public'} key in PEM"
        )
    # a key shorter than the hash is weak (RFC 7518 section 3.2)
    bytes_min = max((int(name[2:]) // 8 for name in algorithms if name.startswith("HS")), default=0)
    if len(key.encode()) < bytes_min:
        raise ValueError(f"a secret for {', '.join(algorithms)} must have at least {bytes_min} bytes")
