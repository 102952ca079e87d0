"""What is made from the schema: nothing missing, nothing made up."""

from __future__ import annotations

import json

import pytest

from graft.config.keys import entry_settings, settings
from graft.config.loading import load_recipe
from graft.config.reference import flags, json_schema, plain_default, reference_markdown


def test_every_setting_is_documented() -> None:
    for key, setting in {**settings(), **entry_settings()}.items():
        assert setting.doc, key


def test_the_reference_page_has_a_row_for_every_setting() -> None:
    page = reference_markdown()
    for key, setting in settings().items():
        assert f"| `{key}` |" in page
        assert setting.doc.replace("|", "\\|") in page
    for key in entry_settings():
        head, _, tail = key.rpartition(".")
        assert f"| `{head}[].{tail}` |" in page
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) == len(settings()) + len(entry_settings())
    assert all(line.replace("\\|", "").count("|") == 6 for line in rows)


@pytest.mark.parametrize(
    ("key", "limits"),
    [
        ("train.batch_size", "at least 1"),
        ("train.max_steps", "at least 1"),
        ("adapter.dropout", "at least 0, less than 1"),
        ("study.seeds", "at least 1 entry, each at least 0"),
        ("model.id", ""),
    ],
)
def test_the_range_of_a_setting_is_read_from_the_schema(key: str, limits: str) -> None:
    assert settings()[key].limits == limits


def test_the_json_schema_knows_every_key_and_the_short_form_of_a_source() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert schema["additionalProperties"] is False
    definitions = schema["$defs"]
    for key in settings():
        head, _, tail = key.rpartition(".")
        section = schema if not head else definitions[schema["properties"][head]["$ref"].rpartition("/")[2]]
        assert tail in section["properties"], key
    alternatives = definitions["DataSection"]["properties"]["train"]["anyOf"]
    assert [option["type"] for option in alternatives] == ["string", "array"]


def test_a_flag_says_what_the_schema_says() -> None:
    for flag in flags():
        setting = settings()[flag.key]
        assert flag.fixed is not None or flag.help.startswith(setting.doc.replace("`", ""))
    names = [name for flag in flags() for name in flag.names]
    assert len(set(names)) == len(names)


def test_a_default_as_it_is_shown_can_be_typed() -> None:
    for key, setting in settings().items():
        shown = plain_default(setting)
        if setting.default not in (None, ()):
            assert load_recipe(None, [f"{key}={shown}"]).recipe == load_recipe().recipe, key
