from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from tests.data.hub_stand_in import REPOSITORY, Repo, repo, serving

from graft.data.documents import is_text, text_documents
from graft.data.tokens import CHARACTERS, CHUNK, _chunks
from graft.errors import DataError
from graft.tasks.stream import BUFFER, LONGEST, mixed
from graft.types import Example


def measured(code: str, **environment: str) -> dict[str, float]:
    """What a program prints as JSON, with its peak memory in MB as ``peak``."""
    ending = "from graft.runs.space import peak_memory\nfound['peak'] = peak_memory() / 2**20\n"
    done = subprocess.run(
        [sys.executable, "-c", f"import json\n{code}{ending}print(json.dumps(found))"],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


TOKENISE = """
import sys, tempfile, time
from pathlib import Path
sys.path.insert(0, "scripts")
from bench_scale import spelled
from graft.data.chat import PromptRenderer
from graft.data.table import TableWriter, TokenTable
from graft.data.tokens import token_ids
from graft.models.tokenizer import load_tokenizer
tokenizer = load_tokenizer("sprout")
with tempfile.TemporaryDirectory() as name:
    start = time.process_time()
    with TableWriter(Path(name)) as writer:
        for _, ids, cut in token_ids(tokenizer, spelled(COUNT)):
            writer.append(ids, cut)
    found = {"cpu": time.process_time() - start, "rows": len(TokenTable(Path(name)))}
    sample = [PromptRenderer(tokenizer).render(one.prompt) + one.gold for one in spelled(4000)]
    start = time.process_time()
    [one.ids for one in tokenizer.backend_tokenizer.encode_batch_fast(sample, add_special_tokens=False)]
    found["alone"] = (time.process_time() - start) / 4000
"""


@pytest.mark.slow
def test_eight_times_the_rows_take_no_more_memory_and_little_more_time_than_the_tokenizer_alone() -> None:
    few, many = (measured(TOKENISE.replace("COUNT", str(count))) for count in (5_000, 40_000))
    assert (few["rows"], many["rows"]) == (5_000, 40_000)
    assert many["peak"] - few["peak"] < 50 and many["peak"] < 1000
    assert many["cpu"] / 40_000 < 2.5 * many["alone"]


STREAM = """
import random
from pathlib import Path
from graft.data.documents import text_documents
from graft.tasks.stream import mixed
from graft.types import Example
texts = text_documents(Path(PATH))
examples = mixed((Example(str(n), "t", None, text) for n, text in enumerate(texts)), random.Random(0))
found = {"documents": 0, "characters": 0}
for example in examples:
    found["documents"] += 1
    found["characters"] += len(example.gold)
"""


@pytest.mark.slow
def test_a_hundred_megabytes_of_text_stream_in_the_memory_of_ten(tmp_path: Path) -> None:
    peaks = []
    for megabytes in (10, 100):
        path = tmp_path / f"{megabytes}.txt"
        block = "".join(f"{'word ' * 120}{number}\n\n" for number in range(1650))  # a megabyte
        with path.open("w") as file:
            for _ in range(megabytes):
                file.write(block)
        found = measured(STREAM.replace("PATH", repr(str(path))))
        assert found["documents"] == 1650 * megabytes
        peaks.append(found["peak"])
    assert peaks[1] - peaks[0] < 20 and peaks[1] < 300


def test_a_line_that_never_ends_streams_too(tmp_path: Path) -> None:
    path = tmp_path / "line.txt"
    path.write_text("é" * (3 * LONGEST + 5))
    assert [len(text) for text in text_documents(path, encoding="utf-8")] == [LONGEST, LONGEST, LONGEST, 5]


@pytest.mark.slow
def test_pretraining_rows_of_a_hundred_megabytes_are_made_in_less_than_a_gigabyte() -> None:
    command = [sys.executable, "scripts/bench_scale.py", "--here", "--parts", "text", "--megabytes"]
    peaks = []
    for megabytes in ("20", "100"):
        said = subprocess.run([*command, megabytes], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True)
        peaks.append(json.loads(said.stdout.splitlines()[-1])["peak_megabytes"])
    assert peaks[1] < 1000 and peaks[1] - peaks[0] < 200


def test_documents_are_paragraphs_lines_or_files(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\ufeff\n One\ntwo. \n\n\n  \nThree.\n", encoding="utf-8")
    assert list(text_documents(path)) == ["One\ntwo.", "Three."]
    assert list(text_documents(path, unit="line")) == ["One", "two.", "Three."]
    assert list(text_documents(path, unit="file")) == ["One\ntwo. \n\n\n  \nThree."]
    path.write_text("One.\nTwo.\n")
    assert list(text_documents(path)) == ["One.", "Two."]


def test_a_folder_gives_a_document_per_file_and_gzip_and_other_encodings_are_read(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_bytes(gzip.compress(b"no"))
    (tmp_path / "sub" / "a.txt").rename(tmp_path / "sub" / "a.txt.gz")
    (tmp_path / "b.txt").write_bytes("Zwölf\n\nBoxkämpfer".encode("cp1252"))
    (tmp_path / ".hidden").write_text("never")
    assert list(text_documents(tmp_path, encoding="cp1252")) == ["Zwölf\n\nBoxkämpfer", "no"]
    assert is_text(tmp_path)
    (tmp_path / "c.csv").write_text("text\nrow\n")
    assert not is_text(tmp_path)


@pytest.mark.parametrize("content", ["", "\n\n  \n"])
def test_a_file_without_text_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "empty.txt"
    path.write_text(content)
    with pytest.raises(DataError, match=r"empty\.txt: the file is empty"):
        list(text_documents(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.txt: there is no such file"):
        list(text_documents(tmp_path / "nowhere.txt"))


def examples(count: int, size: int = 10) -> list[Example]:
    return [Example(str(number), "t", None, "x" * size) for number in range(count)]


def test_mixing_gives_every_text_once_in_an_order_that_the_seed_alone_decides() -> None:
    given = examples(5000)
    first, again, other = (list(mixed(given, random.Random(seed))) for seed in (0, 0, 1))
    assert first == again != other
    assert sorted(first, key=lambda one: int(one.id)) == given
    early = [int(one.id) for one in first[:1000]]
    assert max(early) < 1000 + BUFFER and early != sorted(early)


def test_mixing_holds_few_long_texts() -> None:
    taken = 0

    def long_ones() -> object:
        nonlocal taken
        for example in examples(100, 1 << 20):
            taken += 1
            yield example

    list(islice(mixed(long_ones(), random.Random(0)), 10))  # type: ignore[arg-type]
    assert taken < 30


def test_chunks_are_bounded_by_characters_and_by_number() -> None:
    assert [len(chunk) for chunk in _chunks(examples(2 * CHUNK + 1))] == [CHUNK, CHUNK, 1]
    assert [len(chunk) for chunk in _chunks(examples(7, CHARACTERS // 2))] == [2, 2, 2, 1]


HUB = """
import sys
from graft.config.loading import load_recipe
from graft.pipeline.branches import branches
from graft.pipeline.prepare.lab import prepare
from graft.pipeline.train.rows import training_rows
settings = {"mode": "pretrain", "data.train": "wikitext", "train.max_steps": 3, "train.batch_size": 8,
            "study.arms": ["trained"], "eval.items": 5}
lab = prepare(load_recipe(None, (), settings).recipe)
rows = training_rows(lab, branches(lab.recipe)[0])
again = training_rows(lab, branches(lab.recipe)[0])
found = {"rows": len(rows.table), "same": list(rows.table) == list(again.table), "texts": len(lab.corpora[0]),
         "epochs": str(rows.drawn[0].epochs), "text": lab.tokenizer.decode(rows.table[0].completion)}
"""


def wikitext(shards: int) -> Repo:
    """The dataset's columns over many files."""
    config, name = "wikitext-2-raw-v1", "Salesforce/wikitext"
    parts = [
        [{"text": f" Article {shard} {row} speaks of rivers . \n"} for row in range(600)] for shard in range(shards)
    ]
    made = repo(name, {config: {"train": parts[0], "test": parts[0][:20]}})
    files = made.branches["main"]
    for shard, rows in enumerate(parts):
        one = repo(name, {config: {"train": rows}}).branches["main"][f"{config}/train-00000-of-00001.parquet"]
        files[f"{config}/train-{shard:05}-of-{shards:05}.parquet"] = one
    del files[f"{config}/train-00000-of-00001.parquet"]
    return made


def test_a_corpus_of_the_hub_is_streamed_as_far_as_the_steps_need_it(tmp_path: Path) -> None:
    with serving([wikitext(12)]) as hub:
        found = measured(
            HUB,
            HF_ENDPOINT=hub.url,
            HF_HOME=str(tmp_path / "hub"),
            GRAFT_CACHE=str(tmp_path / "cache"),
            HF_HUB_DISABLE_XET="1",
            HF_HUB_DISABLE_TELEMETRY="1",
            HF_HUB_OFFLINE="0",
            HF_DATASETS_OFFLINE="0",
            TRANSFORMERS_OFFLINE="0",
            GRAFT_OFFLINE="0",
        )
        read = {path.partition("?")[0] for method, path in hub.asked if method == "GET" and "/train-" in path}
    assert (found["rows"], found["same"], found["texts"], found["epochs"]) == (24, True, 5, "nan")
    assert str(found["text"]).startswith("Article")
    assert 1 <= len(read) < 12
    assert not list((tmp_path / "hub").rglob("*.parquet")) and not list((tmp_path / "hub").rglob("*.arrow"))
