import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hpc_curate import sources
from hpc_curate.errors import ConfigError
from hpc_curate.io.s5cmd import SourceSettings

SETTINGS = SourceSettings()


def listed(path):
    return sources.entries(str(path), SETTINGS).to_pylist()


def parquet(path, columns):
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("size", ["bytes", "size"])
def test_a_table_with_sizes_looks_at_no_file(tmp_path, size):
    columns = {"label": ["x", None], "uri": ["s3://b/p/a.mp4", "/nowhere/c.mp4"], size: [7, None]}
    found = listed(parquet(tmp_path / "t.parquet", columns))
    assert [tuple(row.values()) for row in found] == [
        ("s3://b/p/a.mp4", "a.mp4", 7, "", '{"label": "x"}'),
        ("/nowhere/c.mp4", "c.mp4", -1, "", "{}"),
    ]


def test_a_table_without_sizes_looks_at_its_files(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"film")
    (tmp_path / "t.csv").write_text("uri\na.mp4\ngone.mp4\n")
    assert [(row["bytes"], bool(row["version"])) for row in listed(tmp_path / "t.csv")] == [(4, True), (-1, False)]


def test_a_csv_keeps_its_text_as_it_stands(tmp_path):
    text = '\ufeffid,uri,caption,bytes\n007,/d/a.mp4,"two\nlines, ""quoted""",12\n1e3,/d/b.mp4,,\n'
    (tmp_path / "t.CSV").write_text(text, newline="")
    first, second = listed(tmp_path / "t.CSV")
    assert json.loads(first["extra"]) == {"id": "007", "caption": 'two\nlines, "quoted"'}
    assert (first["bytes"], second["bytes"]) == (12, -1)


def test_jsonl_and_parquet_keep_their_types(tmp_path):
    rows = [
        {"uri": "/d/a.mp4", "size": 1, "tags": ["x", "y"], "n": 3, "f": 0.5, "day": "2024-01-02"},
        {"uri": "/d/b.mp4"},
    ]
    (tmp_path / "t.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    first, second = listed(tmp_path / "t.jsonl")
    assert json.loads(first["extra"]) == {"tags": ["x", "y"], "n": 3, "f": 0.5, "day": "2024-01-02"}
    assert (second["bytes"], second["extra"]) == (-1, "{}")
    columns = {"uri": ["/d/a.mp4"], "size": [1], "f": [float("nan")], "day": [datetime.date(2024, 1, 2)], "ok": [True]}
    [row] = listed(parquet(tmp_path / "t.parquet", columns))
    assert json.loads(row["extra"]) == {"day": "2024-01-02", "ok": True}


def test_names_are_relative_to_the_folder_that_all_share(tmp_path):
    columns = {"uri": [f"/data/v{number % 3}/x{number}.mp4" for number in range(40_000)], "size": [1] * 40_000}
    found = listed(parquet(tmp_path / "t.parquet", columns))
    assert [row["name"] for row in found[:2]] == ["v0/x0.mp4", "v1/x1.mp4"]
    assert len({row["name"] for row in found}) == 40_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "url,size\na,1\n", "no column 'uri'; did you mean 'url'?"),
        ("t.csv", "uri,size\n", "has no rows"),
        ("t.csv", "", "has no rows"),
        ("t.csv", "uri,size\na,1\n,2\n", "row 2 has no uri"),
        ("t.csv", "uri,size\na,many\n", "row 1 has the size 'many', which is no number"),
        ("t.csv", "uri,size\na,1,2\n", "more fields than the header"),
        ("t.csv", "uri\nftp://x/a.mp4\n", "ftp:// is not fetched"),
        ("t.jsonl", '{"uri": "a"}\n{"uri"\n', "cannot be read"),
        ("t.jsonl", '"a.mp4"\n', "line 1 is no JSON object"),
        ("t.jsonl", '{"uri": 3, "size": 1}\n', "row 1 has no uri"),
        ("t.jsonl", '{"uri": "a", "size": 1, "x": [NaN]}\n', "row 1 cannot travel as JSON"),
        ("t.parquet", "no parquet", "cannot be read"),
        ("t.csv", "uri\na.mp4\n", "none of its 1 files exists"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError) as caught:
        listed(tmp_path / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_of_bytes_cannot_travel(tmp_path):
    path = parquet(tmp_path / "t.parquet", {"uri": ["/d/a.mp4"], "size": [1], "thumb": [b"\x00"]})
    with pytest.raises(ConfigError, match="row 1 cannot travel as JSON: bytes; drop that column"):
        listed(path)


def test_two_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("uri,label,label\n/d/a.mp4,x,y\n")
    twice = pa.Table.from_arrays([pa.array(["/d/a.mp4"]), pa.array(["x"]), pa.array(["y"])], ["uri", "label", "label"])
    pq.write_table(twice, tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        with pytest.raises(ConfigError, match="more than one column 'label'"):
            listed(tmp_path / name)
