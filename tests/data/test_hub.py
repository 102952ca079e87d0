"""Datasets of a hub: read by the real clients over HTTP, from a stand-in on loopback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.data.hub_stand_in import TOKEN, ClientError, Hub, HubClient, Repo, hub_client, repo, serving

from graft.data.hub import WORKED, hub_rows, stream_rows
from graft.errors import MissingExtra
from graft.tasks.dataset import HubSource, is_held_out

ROWS = [{"text": f"text {index}", "label": index % 2, "unread": index} for index in range(60)]
PLAIN = HubSource("owner/plain", eval="test", columns=("text", "label"))
SCRIPT = HubSource("owner/script", "large", eval="test", columns=("text", "label"), converted=True)
GATED = HubSource("owner/gated", columns=("text", "label"), gated=True)


def repos() -> list[Repo]:
    splits = {"train": ROWS, "test": ROWS[:7]}
    return [
        repo("owner/plain", {"default": splits}),
        repo("owner/script", {"small": {"train": ROWS[:3]}, "large": splits}, script=True),
        repo("oldest", {"plain_text": {"train": ROWS}}, script=True),
        repo("owner/comma", {"default": {"train": ROWS}}, form="csv"),
        repo("owner/lines", {"first": {"train": ROWS[:9]}, "second": {"train": ROWS}}, form="jsonl"),
        repo("owner/gated", {"default": {"train": ROWS}}, gated=True),
    ]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with serving(repos()) as hub:
        yield hub


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub-home")


@pytest.fixture(scope="module")
def client(hub: Hub, home: Path) -> Iterator[HubClient]:
    with hub_client(hub, home) as client:
        yield client


def message(client: HubClient, source: HubSource, part: str = "train", stream: bool = False) -> str:
    with pytest.raises(ClientError) as caught:
        client.stream(source, part, 1) if stream else client.rows(source, part)
    assert caught.value.kind == "DataError"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_rows_have_the_columns_that_are_read_and_no_others(client: HubClient) -> None:
    assert client.rows(PLAIN, "train") == [{"text": row["text"], "label": row["label"]} for row in ROWS]
    assert len(client.rows(PLAIN, "eval")) == 7


def test_worked_examples_are_a_split_with_columns_of_their_own(client: HubClient) -> None:
    source = HubSource("owner/plain", eval="test", columns=("text",), worked="test", worked_columns=("label",))
    assert client.rows(source, WORKED) == [{"text": row["text"], "label": row["label"]} for row in ROWS[:7]]
    assert client.rows(source, "eval") == [{"text": row["text"]} for row in ROWS[:7]]
    assert len(client.rows(HubSource("owner/plain", columns=("text",)), WORKED)) == len(ROWS)


@pytest.mark.parametrize(
    "source",
    [
        HubSource("owner/comma", columns=("text",)),
        HubSource("owner/lines", "second", columns=("text",)),
        HubSource("oldest", "plain_text", columns=("text",), converted=True),
    ],
    ids=lambda source: source.repo,
)
def test_other_forms_and_names_are_read(client: HubClient, source: HubSource) -> None:
    rows = client.rows(source, "train") + client.rows(source, "eval")
    assert sorted(row["text"] for row in rows) == sorted(str(row["text"]) for row in ROWS)


def test_a_dataset_that_is_a_script_is_read_from_the_parquet_conversion(client: HubClient, hub: Hub) -> None:
    assert [row["text"] for row in client.rows(SCRIPT, "eval")] == [row["text"] for row in ROWS[:7]]
    asked = [path for _, path in hub.asked if "/datasets/owner/script/resolve/" in path]
    assert {path.rsplit("/", 3)[1] for path in asked} == {"large"}  # no other configuration was downloaded
    assert "scripts are no longer supported" in message(client, replace(SCRIPT, converted=False))


def test_without_a_split_for_it_a_share_is_held_out_by_the_first_column(client: HubClient) -> None:
    source = replace(PLAIN, eval=None)
    train, held_out = client.rows(source, "train"), client.rows(source, "eval")
    assert [row["text"] for row in held_out] == [row["text"] for row in ROWS if is_held_out(str(row["text"]))]
    assert held_out and len(train) + len(held_out) == len(ROWS)
    assert client.stream(source, "eval", 99) == held_out


@pytest.mark.parametrize("source", [PLAIN, SCRIPT], ids=lambda source: source.repo)
def test_streamed_rows_are_the_same_rows(client: HubClient, source: HubSource) -> None:
    assert client.stream(source, "train", 99) == client.rows(source, "train")
    assert len(client.stream(source, "train", 4)) == 4


@pytest.mark.parametrize("stream", [False, True], ids=["kept", "streamed"])
def test_a_gated_dataset_says_how_to_get_access(client: HubClient, hub: Hub, stream: bool) -> None:
    told = message(client, GATED, stream=stream)
    assert f"{hub.url}/datasets/owner/gated" in told
    assert "accept the terms" in told and "hf auth login" in told and "HF_TOKEN" in told


@pytest.mark.parametrize("token", [TOKEN, TOKEN.replace("x", "y")], ids=["let in", "not let in"])
def test_a_token_opens_a_gated_dataset_to_whom_its_owner_let_in(hub: Hub, tmp_path: Path, token: str) -> None:
    with hub_client(hub, tmp_path, HF_TOKEN=token) as client:
        if token == TOKEN:
            assert len(client.rows(GATED, "train")) + len(client.rows(GATED, "eval")) == len(ROWS)
        else:
            assert "is gated" in message(client, GATED)


@pytest.mark.parametrize("stream", [False, True], ids=["kept", "streamed"])
@pytest.mark.parametrize(
    ("source", "told"),
    [
        (replace(PLAIN, repo="owner/plian"), "owner/plian was not found"),
        (replace(PLAIN, columns=("txt",)), "column 'txt' is missing; it has text, label, unread"),
        (replace(PLAIN, train="tarin"), "has no split 'tarin'; it has test, train"),
        (replace(PLAIN, config="lrage"), "lrage"),
        (replace(SCRIPT, repo="owner/scirpt"), "owner/scirpt was not found"),
        (replace(SCRIPT, columns=("txt",)), "column 'txt' is missing; it has text, label, unread"),
        (replace(SCRIPT, train="tarin"), "(large) has no split 'tarin'; it has test, train"),
        (replace(SCRIPT, config="lrage"), "has no configuration 'lrage'; it has large, small"),
    ],
    ids=lambda value: None if isinstance(value, HubSource) else value,
)
def test_what_is_not_there_is_named(client: HubClient, source: HubSource, told: str, stream: bool) -> None:
    assert told in message(client, source, stream=stream)


@pytest.mark.parametrize("variable", ["GRAFT_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_what_was_read_before_is_read_and_nothing_is_asked(
    client: HubClient, hub: Hub, home: Path, variable: str
) -> None:
    read = {source: client.rows(source, "train") for source in (PLAIN, SCRIPT)}
    before = len(hub.asked)
    with hub_client(hub, home, **{variable: "1"}) as offline:
        for source, rows in read.items():
            assert offline.rows(source, "train") == rows
        told = message(offline, GATED)
        assert "offline" in told and "no copy" in told and "data.tasks" in told
        assert "no copy" in message(offline, SCRIPT, stream=True)
    assert len(hub.asked) == before


def test_a_hub_that_does_not_answer_leaves_what_was_read_before(client: HubClient, home: Path) -> None:
    rows = client.rows(PLAIN, "train")
    with serving([]) as gone:
        pass
    with hub_client(gone, home) as lonely:
        assert lonely.rows(PLAIN, "train") == rows
        assert "cannot be reached" in message(lonely, GATED)
        assert "cannot be reached" in message(lonely, SCRIPT, stream=True)


def test_without_the_clients_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"graft-lm\[data\]"):
        hub_rows(PLAIN)("train")
    with pytest.raises(MissingExtra, match=r"graft-lm\[data\]"):
        next(stream_rows(PLAIN, "train"))
