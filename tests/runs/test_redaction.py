"""Secrets in every form in which texts carry them, and texts that only look like them."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path

import pytest

from graft import report
from graft.errors import ConfigError
from graft.runs import redaction
from graft.runs.files import write_json, write_text
from graft.runs.log import open_log
from graft.runs.redaction import redacted, remember, remember_url


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_remembered", set())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:hunter2@host/v1 failed", "http://***@host/v1 failed"),
        ("s3://k%40y:p@ss@bucket/x", "s3://***@bucket/x"),
        ("see https://hub/x?a=1&X-Amz-Signature=ab12&b=2", "see https://hub/x?a=1&X-Amz-Signature=***&b=2"),
        ("https://blob/x?sv=1&sig=a%2Fb", "https://blob/x?sv=1&sig=***"),
        ("https://blob/x?a=1&amp;access_token=ab&amp;b=2", "https://blob/x?a=1&amp;access_token=***&amp;b=2"),
        ("{'Authorization': 'Bearer abcdefg'}", "{'Authorization': 'Bearer ***'}"),
        ('{"authorization": "Basic bWU6cGFzcw=="}', '{"authorization": "Basic ***"}'),
        ("authorization=abc123", "authorization=***"),
        ('echo: {\\"Authorization\\": \\"Token abc\\"}', 'echo: {\\"Authorization\\": \\"Token ***\\"}'),
        ("headers: Bearer abc.def-ghi_jkl", "headers: Bearer ***"),
        ("X-Api-Key: 12345; next", "X-Api-Key: ***; next"),
        ('{"api_key": "zz top"}', '{"api_key": "*** top"}'),
        ("access_token=abc&user=me", "access_token=***&user=me"),
        ("token hf_abcdefghijklmnop!", "token ***!"),
        ("key sk-proj-abcdefghijklmnop", "key ***"),
        ("id AKIAIOSFODNN7EXAMPLE", "id ***"),
        ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_d", "jwt ***"),
    ],
)
def test_forms_that_only_secrets_have_are_masked(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "max_new_tokens: 64\napi_key_env: GRAFT_API_KEY\npad_token: <pad>",
        "Spell the word password: p-a-s-s-w-o-r-d, then secret: s-e-c-r-e-t and key: k-e-y",
        "mail me@example.org, or see https://example.org/@me",
        '["http://a.org","b@c.org"]',
        "basic understanding of token counts: 12",
        "sk-learn and AKIA",
        "if (a&&event.key==='Enter'&&b.token==c) x = y ? key=1 : 0; a?token===b:c",
        "bearer certificates, https://x/?design=blue",
        *(
            path.read_text(encoding="utf-8")
            for path in sorted(Path(report.__file__).parent.iterdir())
            if path.is_file()
        ),
    ],
)
def test_what_only_looks_like_a_secret_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize("name", ["WANDB_API_KEY", "SOME_TOKEN", "GRAFT_SECRET", "DB_PASSWORD", "MY_PASS"])
def test_the_value_of_a_secret_variable_is_masked_in_every_form(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    secret = 'corr"ect \\horse/battery'
    monkeypatch.setenv(name, secret)
    for text in (secret, json.dumps({"a": secret}), repr([secret]), "https://x/?q=corr%22ect%20%5Chorse%2Fbattery"):
        assert "horse" not in redacted(text)


def test_places_and_short_values_are_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_KEY_FILE", "/etc/ssl/own")
    monkeypatch.setenv("SOME_TOKEN", "true")
    assert redacted("/etc/ssl/own is true") == "/etc/ssl/own is true"


def test_what_was_met_on_the_way_is_masked_from_then_on() -> None:
    assert redacted("swordfish") == "swordfish"
    remember("swordfish")
    remember_url("https://me:hunter%232@host/v1", "model.url")
    header = base64.b64encode(b"me:hunter#2").decode()
    assert redacted(f"swordfish hunter#2 {header}") == "*** *** ***" + "=" * header.count("=")


def test_a_password_that_was_not_stored_is_asked_for_again() -> None:
    with pytest.raises(ConfigError, match=r"model\.url=ADDRESS"):
        remember_url(redacted("https://me:hunter2@host/v1"), "model.url")


def test_files_and_logs_hold_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "correct-horse")
    write_text(tmp_path / "a.txt", "url: http://me:pw@h/ correct-horse")
    write_json(tmp_path / "a.json", {"message": "correct-horse", "n": 1})
    with pytest.raises(ValueError, match="correct"), open_log(tmp_path / "a.log"):
        logging.getLogger("graft.x").warning("using %s", "correct-horse")
        raise ValueError("correct-horse")
    assert (tmp_path / "a.txt").read_text() == "url: http://***@h/ ***"
    assert json.loads((tmp_path / "a.json").read_text()) == {"message": "***", "n": 1}
    assert "horse" not in (tmp_path / "a.log").read_text() and "ValueError: ***" in (tmp_path / "a.log").read_text()
