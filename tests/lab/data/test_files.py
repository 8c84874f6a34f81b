"""Files of one's own: what is read exactly as written, and what is refused with file and place."""

import json

import pytest

from apt_minimal.lab.data.rows import read_rows


@pytest.fixture
def read(tmp_path):
    def make(name, text, encoding="utf-8"):
        (tmp_path / name).write_bytes(text.encode(encoding))
        return read_rows(tmp_path / name)[0]

    return make


TEXTS = [
    "plain",
    "Zürich, Østerbro, 東京, 🙂",
    'quotes " and , commas',
    "two\nlines",
    "one\u2028line",
    "  spaces  ",
    "",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_jsonl_texts_come_back_as_written(text, ending, read):
    line = json.dumps({"text": text}, ensure_ascii=False)
    assert read("a.jsonl", line + ending + ending + line) == [{"text": text}] * 2


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv_texts_come_back_as_written(text, ending, encoding, read):
    quoted = '"' + text.replace('"', '""') + '"'
    assert read("a.csv", f"text,label{ending}{quoted},1{ending}", encoding) == [{"text": text, "label": "1"}]


def test_jsonl_may_be_called_json(read):
    assert read("a.json", '{"a": 1}\n{"a": 2}\n') == [{"a": 1}, {"a": 2}]


BAD_LINES = {
    '{"a": 1}\n{"a": \n': r"a\.jsonl, line 2: not a JSON object on a line of its own",
    '{"a": 1}\n\n{"a"}\n': r"a\.jsonl, line 3: not a JSON object on a line of its own",
    "[1, 2]\n": r"a\.jsonl, line 1: a JSON object was expected, not list",
    '{"a": 1}\n"text"\n': r"a\.jsonl, line 2: a JSON object was expected, not str",
}


@pytest.mark.parametrize("text", BAD_LINES)
def test_a_bad_jsonl_line_is_named(text, read):
    with pytest.raises(ValueError, match=BAD_LINES[text]):
        read("a.jsonl", text)


@pytest.mark.parametrize("row", ["only one", "one,two,three"])
def test_a_csv_row_with_too_few_or_many_fields_is_named(row, read):
    with pytest.raises(ValueError, match=r"a\.csv, line 3: \d fields, not as many as the header's 2"):
        read("a.csv", f"text,label\nfine,1\n{row}\n")


@pytest.mark.parametrize("name", ["a.tsv", "a.parquet", "a"])
def test_another_kind_of_file_is_refused(name, read):
    with pytest.raises(ValueError, match=r"neither \.jsonl nor \.csv, \.conll or \.txt"):
        read(name, "")


def test_jsonl_may_begin_with_a_byte_order_mark(read):
    assert read("a.jsonl", '{"a": 1}\n', "utf-8-sig") == [{"a": 1}]


def test_a_quote_that_never_ends_is_named(read):
    with pytest.raises(ValueError, match=r"a\.csv, line 2: unexpected end of data"):
        read("a.csv", 'text,label\n"never ends,1\nx,2\n')


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_a_file_that_is_not_utf8_is_named(name, read):
    with pytest.raises(ValueError, match=name):
        read(name, '{"text": "Zürich"}\n', "latin-1")


def test_a_binary_file_is_refused_for_its_kind(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1\x15\x80\xff")
    with pytest.raises(ValueError, match=r"neither \.jsonl nor \.csv, \.conll or \.txt"):
        read_rows(tmp_path / "a.parquet")


def test_a_line_end_inside_a_csv_field_stays_as_it_is(read):
    assert read("a.csv", 'text,label\r\n"two\r\nlines",1\r\n') == [{"text": "two\r\nlines", "label": "1"}]
