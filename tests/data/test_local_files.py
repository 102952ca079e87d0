"""Local files of every format become rows; what is wrong in them is one error with line numbers."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from graft.data.file_form import FileForm
from graft.data.files import file_rows, read_rows
from graft.errors import DataError, MissingExtra

ROWS = [{"text": "Größe", "label": "1"}, {"text": 'say "hi"\nto all, twice', "label": "0"}, {"text": "", "label": "1"}]
CSV = 'text,label\nGröße,1\n"say ""hi""\nto all, twice",0\n,1\n'
DATA = os.environ.get("GRAFT_TEST_DATA")
real_data = pytest.mark.skipif(DATA is None, reason="GRAFT_TEST_DATA names no folder of real data")


def write(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    data = content if isinstance(content, bytes) else content.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def plain(path: Path, **how: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in read_rows(path, FileForm(**how))]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.csv.gz", CSV),
        ("a.csv", CSV.replace("\n", "\r\n").replace('hi""\r\n', 'hi""\n')),
        ("a.csv", CSV.replace(",", ";").replace("all;", "all,")),
        ("a.tsv", 'text\tlabel\nGröße\t1\n"say ""hi""\nto all, twice"\t0\n\t1\n'),
        ("a.jsonl", "\n".join(json.dumps(row) for row in ROWS) + "\n\n"),
        ("a.jsonl.gz", "\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)),
        ("a.ndjson", "\r\n".join(json.dumps(row) for row in ROWS)),
        ("a.json", json.dumps(ROWS, indent=1)),
        ("a.json.gz", json.dumps({"data": ROWS})),
        ("a.json", json.dumps({"version": 2, "rows": ROWS})),
        ("a.json", json.dumps({"text": [row["text"] for row in ROWS], "label": [row["label"] for row in ROWS]})),
        ("a.json", "\n".join(json.dumps(row) for row in ROWS)),
    ],
)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, content: str) -> None:
    table = read_rows(write(tmp_path / name, content))
    assert [dict(row) for row in table] == ROWS
    assert table.columns == ("text", "label")
    assert "3 rows" in table.words and "UTF-8" in table.words


def test_parquet_gives_the_same_rows_with_their_types(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="the extra data is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"text": ["a", None], "n": [1, 2], "tags": [["x"], []]}), tmp_path / "a.parquet")
    table = read_rows(tmp_path / "a.parquet")
    assert plain(tmp_path / "a.parquet") == [{"text": "a", "n": 1, "tags": ["x"]}, {"text": None, "n": 2, "tags": []}]
    assert (table[-1].place, table.words) == ("a.parquet, row 2", "a.parquet: Parquet, 2 rows")  # type: ignore[attr-defined]
    write(tmp_path / "b.parquet", b"PAR1 no parquet")
    with pytest.raises(DataError, match=r"b\.parquet: this Parquet file cannot be read .*; write it again"):
        read_rows(tmp_path / "b.parquet")


def test_parquet_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"graft-lm\[data\]"):
        read_rows(write(tmp_path / "a.parquet", b""))


def test_a_row_knows_its_physical_line(tmp_path: Path) -> None:
    table = read_rows(write(tmp_path / "a.csv", 'text,label\n"one\ntwo\nthree",1\n\nfour,2\n'))
    assert [row.place for row in table] == ["a.csv, line 2", "a.csv, line 6"]  # type: ignore[attr-defined]
    assert table[1] == {"text": "four", "label": "2"}


def test_a_tsv_file_keeps_quotes_that_are_part_of_the_text(tmp_path: Path) -> None:
    table = plain(write(tmp_path / "a.tsv", 's\tt\n"Yes" he said\t"\n'))
    assert table == [{"s": '"Yes" he said', "t": '"'}]


def test_a_file_without_a_header_gets_the_names_of_the_recipe(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "gj04\t1\tOne.\nbc01\t0\tTwo.\n")
    assert plain(path, header=("source", "label", "text"))[0] == {"source": "gj04", "label": "1", "text": "One."}
    with pytest.raises(DataError, match=r"line 1: 3 columns where the header has 2"):
        read_rows(path, FileForm(header=("a", "b")))


TEXT = "Größe, Äpfel und Übermut: „schön“ – für 5 €, sagte die Straße.\n"


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("utf-8", "UTF-8"),
        ("utf-8-sig", "UTF-8 with a byte-order mark"),
        ("utf-16", "UTF-16 by its byte-order mark"),
        ("utf-32", "UTF-32 by its byte-order mark"),
        ("cp1252", "cp1252, guessed; set encoding if it is another"),
    ],
)
def test_an_encoding_is_found_out_and_told(tmp_path: Path, encoding: str, told: str) -> None:
    table = read_rows(write(tmp_path / "a.csv", "text,n\n" + f'"{TEXT.strip()}",1\n' * 20, encoding))
    assert table[19]["text"] == TEXT.strip()
    assert told in table.words


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1251", "Привет, мир! Это проверка кодировки текста.\n"),
        ("cp932", "これは日本語の文章です。文字を調べます。\n"),
        ("cp1250", "Zażółć gęślą jaźń, pójdźże kiń tę chmurność w głąb flaszy.\n"),
    ],
)
def test_other_scripts_are_guessed_too(tmp_path: Path, encoding: str, text: str) -> None:
    table = read_rows(write(tmp_path / "a.txt", text * 10, encoding), FileForm(unit="line"))
    assert table[9]["text"] == text.strip()
    assert f"{encoding}, guessed" in table.words


def test_a_given_encoding_is_used_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    latin = write(tmp_path / "latin.csv", "text\nzażółć\n", "cp1250")
    assert plain(latin, encoding="cp1250") == [{"text": "zażółć"}]
    with pytest.raises(
        DataError, match=r"latin\.csv: 1 line cannot be used: line 2: byte 0xbf at column 3 is not utf-8"
    ):
        read_rows(latin, FileForm(encoding="utf-8"))
    with pytest.raises(DataError, match=r"line 2: byte 0xbf at column 3 is not ascii"):
        read_rows(latin, FileForm(encoding="ascii"))
    with pytest.raises(DataError, match=r"line 1: not utf-16-le from here on"):
        read_rows(write(tmp_path / "odd.csv", b"text\nabcd"), FileForm(encoding="utf-16-le"))
    with pytest.raises(DataError, match=r"encoding is latin-1, but the file is valid UTF-8 beyond ASCII"):
        read_rows(write(tmp_path / "utf8.csv", CSV), FileForm(encoding="latin-1"))
    with pytest.raises(
        DataError, match=r"encoding is utf-88, which is none of text that Python reads\. Did you mean 'utf-8'"
    ):
        read_rows(latin, FileForm(encoding="utf-88"))


def test_bad_bytes_in_a_file_that_is_mostly_utf8_are_reported_not_guessed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"t": "ä"}\n'.encode() * 3 + b'{"t": "\xe4"}\n' + '{"t": "ö"}\n'.encode())
    with pytest.raises(DataError, match=r"a\.jsonl: 1 line cannot be used: line 4: byte 0xe4 at column 8 is not utf-8"):
        read_rows(path)


BAD = [
    ("a.csv", "", "the file is empty"),
    ("a.csv", "\n \n", "the file is empty"),
    ("a.csv", "text,label\n", r"there is a header \(text, label\) but no row under it"),
    ("a.csv", "text,label,text\na,b,c\n", "the header names text more than once"),
    (
        "a.csv",
        "a,b\n1,2\n1\n1,2,3\n",
        "2 lines cannot be used: line 3: 1 columns where the header has 2; line 4: 3 col",
    ),
    ("a.csv", 'a,b\n"x\ny",2\n1,2,3\n', "1 line cannot be used: line 4: 3 columns"),
    ("a.csv", 'a,b\n1,"open\n2,3\n4,5\n', "line 2: a quote is opened and not closed within 2 more lines"),
    ("a.csv", 'a,b\n1,"x" y\n', "line 2: .*a quote inside a quoted field is written twice"),
    ("a.csv", "a,b\n1,\0\n", "line 2: holds a NUL byte"),
    ("a.csv", "a\n" + '"' + "x" * (1 << 24) + 'x"\n', "line 2: a quote is opened and not closed"),
    ("a.csv", "a,b\n" + "1\n" * 9, r"9 lines cannot be used: .*line 6: .*; and 4 more; mend or delete them"),
    ("a.jsonl", "", "the file is empty"),
    (
        "a.jsonl",
        '{"a": 1}\n{"a": }\n\n[1]\n"x"\n',
        r"3 lines .*line 2: not JSON .*line 4: .*got a list; line 5: .*got text",
    ),
    ("a.jsonl", '{"a": "\\ud83d"}\n', "line 1: half of a surrogate pair"),
    ("a.jsonl", '{"a": ' + "[" * 200_000 + "\n", "line 1: nested too deeply"),
    ("a.json", " ", "the file is empty"),
    ("a.json", "[]", "the list holds no rows"),
    ("a.json", '[{"a": 1},\n 2]', "row 2: expected an object, but got a number"),
    ("a.json", '[{"a": 1},\n x]', "line 2: not JSON"),
    ("a.json", '{"text": ["a", "b"], "label": ["x"]}', "must be equally long, but their lengths are text 2, label 1"),
    ("a.json", '{"a": 1}', "expected a list of objects, .*got an object with a"),
    ("a.txt", "\n\n", "the file is empty"),
    ("a.txt", "ok\n\0\n", "line 2: holds a NUL byte"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD)
def test_bad_input_is_one_error_that_says_where(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_rows(write(tmp_path / name, content))
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


TABS = {
    "two lines that begin and end with a quote": ('text\tlabel\n"hello\t1\nbye"\t0\n', ['"hello', 'bye"']),
    "a quotation among others": ('text\tlabel\n"Great film"\t1\nBad.\t0\n', ['"Great film"', "Bad."]),
    "a stray quote": ('text\tlabel\n5" disk\t1\n"open\t0\nlast\t1\n', ['5" disk', '"open', "last"]),
    "every field quoted": ('text\tlabel\n"Great"\t1\n"Bad"\t0\n', ["Great", "Bad"]),
    "a doubled quote": ('text\tlabel\n"a ""b"" c"\t1\nd\t0\n', ['a "b" c', "d"]),
    "a line end in quotes": ('text\tlabel\n"a\nb"\t1\nd\t0\n', ["a\nb", "d"]),
}


@pytest.mark.parametrize("case", TABS)
def test_quotes_of_a_tsv_file_are_syntax_only_where_that_is_sure(tmp_path: Path, case: str) -> None:
    content, texts = TABS[case]
    assert [row["text"] for row in plain(write(tmp_path / "a.tsv", content))] == texts


def test_a_csv_file_whose_quotes_may_merge_rows_asks_how_to_read_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\nfirst,1\n"hello,1\nbye",0\n')
    with pytest.raises(
        DataError, match=r"line 3: a quoted field goes on over several lines.*set quote to '\"' or to none"
    ):
        read_rows(path)
    assert [row["text"] for row in plain(path, quote="none")] == ["first", '"hello', 'bye"']
    assert [row["text"] for row in plain(path, quote='"')] == ["first", "hello,1\nbye"]
    stray = write(tmp_path / "b.csv", 'text,label\n5" disk,1\n"open,0\n')
    with pytest.raises(DataError, match=r"a quote is opened and not closed .*set quote: none"):
        read_rows(stray)
    assert [row["text"] for row in plain(stray, quote="none")] == ['5" disk', '"open']
    assert plain(write(tmp_path / "c.csv", "a,b\n'x,y',2\n"), quote="'") == [{"a": "x,y", "b": "2"}]


def test_lines_with_a_separator_are_a_table_and_keep_their_white_space(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "  Good news@positive\nNo news@neutral\n")
    table = read_rows(path, FileForm(separator="@", header=("text", "label")))
    assert [dict(row) for row in table] == [
        {"text": "  Good news", "label": "positive"},
        {"text": "No news", "label": "neutral"},
    ]
    assert table.words == "a.txt: lines separated by '@', UTF-8, 2 rows"
    with pytest.raises(DataError, match=r"line 2: 3 columns where the header has 2"):
        read_rows(write(tmp_path / "b.txt", "a|b\n1|2|3\n"), FileForm(separator="|"))


def packed(path: Path, data: bytes) -> Path:
    import bz2
    import lzma
    import zipfile

    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("__MACOSX/._a.csv", b"x")
            archive.writestr("inside/a.csv", data)
    elif path.suffix == ".zst":
        arrow = pytest.importorskip("pyarrow")
        with arrow.CompressedOutputStream(str(path), "zstd") as out:
            out.write(data)
    else:
        path.write_bytes({".xz": lzma.compress, ".bz2": bz2.compress, ".gz": gzip.compress}[path.suffix](data))
    return path


@pytest.mark.parametrize("name", ["a.csv.xz", "a.csv.bz2", "a.csv.zst", "a.csv.zip", "a.zip", "a.CSV.GZ"])
def test_compressed_files_are_read_as_what_is_inside(tmp_path: Path, name: str) -> None:
    path = tmp_path / name.lower()
    packed(path, CSV.encode())
    assert plain(path.rename(tmp_path / name)) == ROWS
    path.write_bytes(packed(tmp_path / f"whole{path.suffix}", CSV.encode()).read_bytes()[:-9])
    with pytest.raises(DataError, match=r"this is not a whole \w+ file"):
        read_rows(path)


def test_an_archive_of_several_files_names_them(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("train.csv", CSV)
        archive.writestr("test.csv", CSV)
    with pytest.raises(
        DataError, match=r"the archive holds 2 files \(train\.csv, test\.csv\), but one is read; unpack"
    ):
        read_rows(tmp_path / "a.zip")


def test_arrow_files_of_every_kind_give_the_same_rows(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import feather

    table = arrow.table({"text": ["a", None], "n": arrow.array(["x", "y"]).dictionary_encode()})
    feather.write_feather(table, str(tmp_path / "a.feather"))
    for name, writer in (("file.arrow", arrow.ipc.new_file), ("stream.arrow", arrow.ipc.new_stream)):
        with writer(str(tmp_path / name), table.schema) as out:
            out.write_table(table)
    for name in ("a.feather", "file.arrow", "stream.arrow"):
        assert plain(tmp_path / name) == [{"text": "a", "n": "x"}, {"text": None, "n": "y"}]
    write(tmp_path / "b.arrow", b"no arrow")
    with pytest.raises(DataError, match=r"b\.arrow: this Arrow file cannot be read"):
        read_rows(tmp_path / "b.arrow")


def test_a_folder_that_datasets_saved_is_its_rows(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"text": ["a", "b"]}).save_to_disk(str(tmp_path / "saved"))
    assert plain(tmp_path / "saved") == [{"text": "a"}, {"text": "b"}]


def test_patterns_and_lists_are_read_one_after_the_other(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        write(tmp_path / name, f"text\n{name}\n")
    assert [row["text"] for row in read_rows(tmp_path / "[ac].csv")] == ["a.csv", "c.csv"]
    assert [row["text"] for row in read_rows((tmp_path / "c.csv", tmp_path / "a.csv"))] == ["c.csv", "a.csv"]
    with pytest.raises(DataError, match=r"d\*\.csv: no file fits this pattern"):
        read_rows(tmp_path / "d*.csv")


def test_objects_by_id_and_by_row_number_are_rows(tmp_path: Path) -> None:
    by_id = {"q1": {"text": "a", "label": 1}, "q2": {"text": "b", "label": 0}}
    assert plain(write(tmp_path / "a.json", json.dumps(by_id))) == [
        {"id": "q1", "text": "a", "label": 1},
        {"id": "q2", "text": "b", "label": 0},
    ]
    by_row = {"text": {"0": "a", "1": "b"}, "label": {"0": 1, "1": 0}}
    assert plain(write(tmp_path / "b.json", json.dumps(by_row))) == [
        {"text": "a", "label": 1},
        {"text": "b", "label": 0},
    ]
    with pytest.raises(DataError, match=r"whose field id is 7 under another id"):
        read_rows(write(tmp_path / "c.json", json.dumps({"q1": {"id": 7, "text": "a"}})))


def test_lists_inside_rows_become_the_rows(tmp_path: Path) -> None:
    articles = [
        {
            "title": "Rome",
            "paragraphs": [
                {"text": "It fell.", "questions": [{"q": "What?", "id": 1}, {"q": "When?", "id": 2}]},
                {"text": "It rose.", "questions": []},
            ],
        },
        {"title": "Oslo", "paragraphs": []},
        {"title": "Bonn", "paragraphs": [{"text": "It is.", "questions": [{"q": "Where?", "id": 3}]}]},
    ]
    table = read_rows(
        write(tmp_path / "a.json", json.dumps({"version": "1", "data": articles})),
        FileForm(explode="paragraphs[].questions[]"),
    )
    assert [(row["title"], row["text"], row["q"]) for row in table] == [
        ("Rome", "It fell.", "What?"),
        ("Rome", "It fell.", "When?"),
        ("Bonn", "It is.", "Where?"),
    ]
    assert table[1]["paragraphs"]["text"] == "It fell." and table[1]["questions"] == {"q": "When?", "id": 2}
    assert table[1].place == "a.json, row 1, paragraphs 1, questions 2"  # type: ignore[attr-defined]
    assert "as 3 questions, 1 rows without any are left out" in table.words
    with pytest.raises(DataError, match=r"row 1: explode names paragraph, but there is no such list"):
        read_rows(tmp_path / "a.json", FileForm(explode="paragraph[]"))


def test_files_beside_the_folders_that_are_labels_are_left_out_and_told(tmp_path: Path) -> None:
    for name in ("pos/1.txt", "neg/1.txt", "README", "urls_pos.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, "Some text.")
    table = read_rows(tmp_path, FileForm(by_folder=True))
    assert [row["label"] for row in table] == ["neg", "pos"]
    assert "left out: README, urls_pos.txt" in table.words
    both = read_rows((tmp_path / "pos", tmp_path / "neg"), FileForm(by_folder=True))
    assert [row["label"] for row in both] == ["pos", "neg"]
    assert read_rows(tmp_path / "pos" / "1.txt").columns == ("text", "file")
    assert read_rows(tmp_path / "pos").columns == ("text", "file")


def test_a_broken_gzip_file_and_a_missing_file_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(CSV.encode())[:-9])
    with pytest.raises(DataError, match=r"this is not a whole gzip file"):
        read_rows(tmp_path / "a.csv.gz")
    with pytest.raises(
        DataError, match=r"there is no such file\. Did you mean a\.csv\.gz\? In that folder: a\.csv\.gz\."
    ):
        read_rows(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"and no folder"):
        read_rows(tmp_path / "nowhere" / "a.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"the folder holds no files"):
        read_rows(tmp_path / "empty")


def test_text_is_cut_into_paragraphs_lines_or_whole_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\n\none\ntwo\n \nthree\n")
    texts = {
        unit: [row["text"] for row in read_rows(path, FileForm(unit=unit))]
        for unit in ("paragraph", "line", "file", "auto")
    }
    assert texts["paragraph"] == texts["auto"] == ["one\ntwo", "three"]
    assert texts["line"] == ["one", "two", "three"]
    assert texts["file"] == ["one\ntwo\n \nthree"]
    assert [row["text"] for row in read_rows(write(tmp_path / "b.txt", "one\ntwo"))] == ["one", "two"]


def test_a_folder_of_texts_labels_each_file_with_its_folder(tmp_path: Path) -> None:
    for name in ("pos/1.txt", "pos/2.txt", "neg/1.txt", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, f"First of {name}.\n\nSecond.")
    found = [(row["label"], row["file"], row["text"].split()[2]) for row in read_rows(tmp_path)]
    assert found == [("neg", "1.txt", "neg/1.txt."), ("pos", "1.txt", "pos/1.txt."), ("pos", "2.txt", "pos/2.txt.")]
    assert len(read_rows(tmp_path, FileForm(unit="paragraph"))) == 6


def test_a_folder_of_tables_is_their_rows_and_says_what_it_left_out(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", '{"text": "three", "label": "z"}')
    write(tmp_path / "a.csv", "label,text\nx,one\ny,two\n")
    write(tmp_path / "README.md", "About.")
    table = read_rows(tmp_path)
    assert [row["text"] for row in table] == ["one", "two", "three"]
    assert [row.place for row in table][1:] == ["a.csv, line 3", "b.jsonl, line 1"]  # type: ignore[attr-defined]
    assert "left out: README.md" in table.words
    write(tmp_path / "c.csv", "title,text\nx,one\n")
    with pytest.raises(
        DataError, match=r"must have the same columns, but a\.csv has label, text and c\.csv has title, "
    ):
        read_rows(tmp_path)


def test_rows_are_held_out_by_what_identifies_them(tmp_path: Path) -> None:
    lines = [f'{{"text": "t{number % 500}", "n": {number}}}' for number in range(1000)]
    path = write(tmp_path / "a.jsonl", "\n".join(lines))
    rows = file_rows(path, None, held_out=0.2, key=lambda row: str(row["text"]))
    train, held = ({row["text"] for row in rows(part)} for part in ("train", "eval"))
    assert not train & held
    assert len(rows("train")) + len(rows("eval")) == 1000
    assert 0.15 < len(held) / 500 < 0.25
    again = file_rows(path, None, held_out=0.2, key=lambda row: str(row["text"]))
    assert [row["n"] for row in again("eval")] == [row["n"] for row in rows("eval")]


def test_two_files_are_two_parts_and_a_missing_part_has_no_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"n": 1}')
    assert [dict(row) for row in file_rows(path, path, held_out=0.1)("eval")] == [{"n": 1}]
    assert len(file_rows(None, path, held_out=0.1)("train")) == 0
    with pytest.raises(DataError, match=r"of 1 rows, held_out 0.1 leaves none to (eval|train); name an eval file"):
        file_rows(path, None, held_out=0.1)("eval")


def test_rows_take_a_few_bytes_each(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\n" + "a short row of a handful of words,1\n" * 50_000)
    tracemalloc.start()
    table = read_rows(path)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(table) == 50_000
    assert held / len(table) < 40
    assert table[49_999]["label"] == "1"


def test_rows_can_be_sliced_and_counted_from_the_end(tmp_path: Path) -> None:
    table = read_rows(write(tmp_path / "a.jsonl", '{"n": 1}\n{"n": 2}\n{"n": 3}'))
    assert [row["n"] for row in table[1:]] == [2, 3]
    assert table[-1]["n"] == 3
    with pytest.raises(IndexError):
        table[3]


REAL = [
    ("gsm8k/train.jsonl", {}, 7473, {"answer": "#### 72"}),
    ("gsm8k/test.jsonl", {}, 1319, {"answer": "#### 18"}),
    ("twitter_fin_sentiment/sent_train.csv", {}, 9543, {"text": "$BYND - JPMorgan", "label": "0"}),
    ("twitter_fin_sentiment/sent_valid.csv", {}, 2388, {"text": "$ALLY - Ally Financial", "label": "0"}),
    (
        "cola/in_domain_train.tsv",
        {"header": ("source", "label", "mark", "sentence")},
        8551,
        {"sentence": "Our friends"},
    ),
    ("cola/in_domain_dev.tsv", {"header": ("source", "label", "mark", "sentence")}, 527, {"sentence": "The sailors"}),
    ("rt_polarity", {"unit": "line"}, 10_662, {"file": "rt-polarity.neg"}),
    ("convfinqa/convfinqa_dev.json", {}, 421, {"id": "Single_MRO/2007/page_134.pdf-1"}),
    ("mmlu_pro/mmlu_pro_test_first3000.jsonl", {}, 3000, {"category": "business"}),
    ("bigcodebench/BigCodeBench.jsonl.gz", {}, 1140, {"task_id": "BigCodeBench/0"}),
    ("wikitext2/valid.txt", {}, None, {"text": "= Homarus gammarus ="}),
]


@real_data
@pytest.mark.parametrize(("name", "how", "count", "first"), REAL)
def test_real_files_have_their_known_rows(name: str, how: dict[str, Any], count: int | None, first: Any) -> None:
    table = read_rows(Path(DATA or "") / name, FileForm(**how))
    assert count is None or len(table) == count
    for column, text in first.items():
        assert text in str(table[0][column])


@real_data
def test_movie_reviews_are_a_folder_of_two_thousand_labelled_texts(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(Path(DATA or "") / "movie_reviews" / "movie_reviews.zip") as packed:
        packed.extractall(tmp_path)
    rows = read_rows(tmp_path / "movie_reviews")
    labels = [row["label"] for row in rows if row["file"].startswith("cv")]
    assert (labels.count("pos"), labels.count("neg")) == (1000, 1000)


@pytest.mark.parametrize("nested", [False, True])
def test_a_categorical_column_whose_values_change_between_row_groups_is_read_as_text(
    tmp_path: Path, nested: bool
) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    groups = [["a", "b", "a"], ["c", "b", None], ["d"]]
    columns = [arrow.array(group).dictionary_encode() for group in groups]
    if nested:
        columns = [arrow.StructArray.from_arrays([column], ["kind"]) for column in columns]
    tables = [arrow.table({"label": column}) for column in columns]
    with parquet.ParquetWriter(tmp_path / "d.parquet", tables[0].schema) as out:
        for table in tables:
            out.write_table(table)
    found = [row["label"] for row in plain(tmp_path / "d.parquet")]
    assert [value["kind"] if nested else value for value in found] == ["a", "b", "a", "c", "b", None, "d"]


@pytest.mark.parametrize(("name", "kind"), [("a.xlsx", "an Excel workbook"), ("b.PDF", "a PDF document")])
def test_a_file_that_is_no_table_of_text_is_refused_as_what_it_is(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04not text")
    with pytest.raises(DataError, match=rf"{name} is {kind}, which is not read; save its table as CSV"):
        read_rows(tmp_path / name)
