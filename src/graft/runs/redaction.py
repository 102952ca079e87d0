"""What must not be read by others: keys and passwords, taken out of every text before it is shown or kept.

Three things are looked for: the values of environment variables whose names say that they are secret, secrets that were
met on the way (`remember`), and forms that only secrets have, such as the password of a URL, an `Authorization` header
or `hf_…`. Shorter values than `SHORTEST` are not looked for by value: they would be found in ordinary words.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit

from graft.errors import ConfigError

MASK = "***"
SHORTEST = 8
"""Characters."""

_NAMES = frozenset(
    {"auth", "authorization", "bearer", "cookie", "credential", "credentials", "jwt", "key", "keys", "pass", "passwd"}
    | {"passphrase", "secrets"}
)
_NAME_ENDINGS = ("apikey", "password", "secret", "token")
_PLACES = frozenset({"dir", "file", "folder", "home", "path", "sock", "socket"})
"""Last words of variables that say where a secret is, not what it is."""

_FORMS = re.compile(
    r"\b(?:hf_|gh[pousr]_|github_pat_|glpat-|sk-|xox[abprs]-)[A-Za-z0-9_-]{10,}"
    r"|\bAKIA[0-9A-Z]{16}\b|\bAIza[A-Za-z0-9_-]{35}\b|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+"
    r"|(?<=://)[^/\s?#\"'<>,\\]+(?=@)"
)
_NAMED = re.compile(
    r"((?<=[\w/%.~-])[?&](?:amp;)?(?:sig|[\w.~-]*(?:token|key|signature|secret|password|credential|auth)[\w.~-]*)=)"
    r"[^=&\s#\"'<>\\][^&\s#\"'<>\\]*"
    r"|(\b(?:proxy-)?authorization\\?[\"']?\s*[:=]\s*\\?[\"']?(?:\w+\s+)?)[^\s\"',;<>\\]+"
    r"|(\b(?-i:Bearer)\s+)[^\s\"',;<>\\]{6,}"
    r"|(\b(?:x-)?(?:api[-_]?key|(?:access|auth|refresh|session|security)[-_]token|client[-_]secret|set-cookie)"
    r"\\?[\"']?\s*[:=]\s*\\?[\"']?)[^\s\"',;&<>\\]+",
    re.IGNORECASE,
)
_remembered: set[str] = set()


def redacted(text: str) -> str:
    """A text with every secret replaced by ``***``."""
    for pattern in _values(frozenset(_secrets())):
        text = pattern.sub(MASK, text)
    return _NAMED.sub(_without_value, _FORMS.sub(MASK, text))


def remember(secret: str) -> None:
    """Look for a secret from now on, also as headers carry it."""
    _remembered.update((secret, base64.b64encode(secret.encode()).decode().rstrip("=")))


def remember_url(url: str, setting: str) -> None:
    """Look for the password of a URL from now on, and for the header in which it travels.

    Args:
        url: an address that is about to be asked.
        setting: where it came from, for the message.

    Raises:
        ConfigError: its password was taken out when the recipe was stored.
    """
    if f"://{MASK}@" in url:
        raise ConfigError(
            f"{setting} is {url}: its password was not stored with the run; give it again: {setting}=ADDRESS"
        )
    try:
        parts = urlsplit(url)
        user, password = unquote(parts.username or ""), parts.password
    except ValueError:
        return
    for secret in {password, unquote(password)} if password else ():
        remember(secret)
        remember(f"{user}:{secret}")


def is_secret_name(name: str) -> bool:
    """Whether a variable, a setting or a flag of this name holds a secret."""
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
    return any(word in _NAMES or word.endswith(_NAME_ENDINGS) for word in words)


def _secrets() -> Iterator[str]:
    """Every secret that is known by its value."""
    yield from _remembered
    for name, value in os.environ.items():
        if is_secret_name(name) and re.split(r"[^a-z0-9]+", name.lower())[-1] not in _PLACES:
            yield value.strip()


@lru_cache(maxsize=8)
def _values(secrets: frozenset[str]) -> tuple[re.Pattern[str], ...]:
    """One pattern for the secrets in all forms in which texts carry them; none where there are none."""
    long = [secret for secret in secrets if len(secret) >= SHORTEST]
    written = (str, lambda secret: json.dumps(secret)[1:-1], lambda secret: repr(secret)[1:-1], lambda s: quote(s, ""))
    ordered = sorted({write(secret) for secret in long for write in written}, key=len, reverse=True)
    return (re.compile("|".join(map(re.escape, ordered))),) if ordered else ()


def _without_value(match: re.Match[str]) -> str:
    return f"{next(start for start in match.groups() if start is not None)}{MASK}"
