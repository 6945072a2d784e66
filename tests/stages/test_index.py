"""Index: a data set with a part missing is refused by name; a whole one is described the same on every machine."""

import hashlib
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hpc_curate.errors import MergeRefused
from hpc_curate.io.delivery import Folder
from hpc_curate.io.tars import write_tar
from hpc_curate.records import Video
from hpc_curate.stages.caption import FACTS
from hpc_curate.stages.index import Index, urls
from hpc_curate.stages.pack import TARS, _files, _rows
from hpc_curate.stages.shard import SAMPLES

TAR_OF = {"v0_0_1": "train-a-000000.tar", "v0_1_2": "train-a-000001.tar", "v1_0_1": "val-a-000000.tar"}


class Run:
    """The inputs of index: three clips in three tars, and one that could not be encoded."""

    def __init__(self, folder, extra=None):
        self.folder, self.extra, self.captions = folder, extra or {}, {}
        self.kept = [(clip, len(clip), "encode", 1.5, clip[:2]) for clip in TAR_OF]
        self.kept.append(("v2_0_1", None, "failed", None, "v2"))
        self.dealt = [(clip, tar, clip, 0, tar.split("-")[0], "a", 0) for clip, tar in TAR_OF.items()]
        rows = [_rows(tar, write_tar(folder / tar, [(clip, {"mp4": clip.encode()})])) for clip, tar in TAR_OF.items()]
        self.packed = pa.concat_tables(rows, promote_options="none").to_pylist()

    def table(self, name, columns=None):
        if name == "samples":
            return pa.Table.from_pylist(
                [dict(zip(SAMPLES.names, row, strict=True)) for row in self.dealt], schema=SAMPLES
            )
        if name == "tars":
            return pa.Table.from_pylist(self.packed, schema=TARS)
        stats = [("embedding", "recall", 0.9, 0.9876543), ("embedding", "histogram", 0.5, 3.0)]
        return pa.table(list(zip(*stats, strict=True)), names=["method", "statistic", "at", "value"])

    def has(self, name):
        return name in self.captions

    def clips(self, columns):
        names = ["clip_id", "cut_bytes", "cut_mode", "cut_duration_s", "video_id"]
        assert list(columns) == names[1:] + list(self.captions)
        rows = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in self.kept])
        for name, values in self.captions.items():
            rows = rows.append_column(name, pa.array(values))
        return rows

    def videos(self):
        return [Video(f"v{n}", f"/data/v{n}.mp4", f"v{n}.mp4", 1, "1", self.extra.get(f"v{n}", {})) for n in range(4)]

    def delivery(self):
        return Folder(self.folder)

    def question(self):
        return {"stage": {"select": {"rules": {"motion": {"min": 0.1}}}, "embed": {"weights": "/data/models/clip.pt"}}}

    def index(self, **settings):
        return Index(**settings).run(None, self)["buckets"]


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "tars")


def test_the_index_leads_to_every_sample(run):
    run.index()
    index = pq.read_table(run.folder / "index.parquet").to_pylist()
    assert sorted(row["sample"] for row in index) == sorted(TAR_OF)
    for row in index:
        raw = (run.folder / row["tar"]).read_bytes()
        assert hashlib.sha256(raw[row["offset"] :][: row["bytes"]]).hexdigest() == row["sha256"]
        assert raw[row["mp4_offset"] :][: row["mp4_bytes"]].decode() == row["sample"]


def test_the_checksums_are_those_that_sha256sum_finds(run):
    run.index()
    command = ["sha256sum", "--check", "--strict", "--quiet", "sha256sums.txt"]
    subprocess.run(command, cwd=run.folder, check=True)


def test_urls_are_one_line_per_split_and_bucket(run):
    run.index()
    assert (run.folder / "urls.txt").read_text() == "train-a-{000000..000001}.tar\nval-a-000000.tar\n"
    braceexpand = pytest.importorskip("braceexpand").braceexpand
    lines = urls([f"train-16x9-720p-{n:06d}.tar" for n in range(12)])
    assert [tar for line in lines for tar in braceexpand(line)] == [f"train-16x9-720p-{n:06d}.tar" for n in range(12)]


def test_counts_are_by_split_and_bucket(run):
    sizes = {tar: (run.folder / tar).stat().st_size for tar in TAR_OF.values()}
    train = {"tars": 2, "samples": 2, "bytes": sum(sizes.values()) - sizes["val-a-000000.tar"], "seconds": 3.0}
    val = {"tars": 1, "samples": 1, "bytes": sizes["val-a-000000.tar"], "seconds": 1.5}
    assert run.index().to_pylist() == [
        {"split": "train", "bucket": "a", **train},
        {"split": "val", "bucket": "a", **val},
    ]


def test_the_card_says_what_was_asked_and_what_came_of_it(tmp_path):
    run = Run(tmp_path / "tars", {"v0": {"licence": "CC0"}, "v1": {"license": "CC BY\n4.0"}})
    run.index()
    card = (run.folder / "README.md").read_text()
    assert "3 clips, 0.00 hours, of 2 of 4 videos. 4 clips were kept; 1 of them could not be encoded" in card
    assert "| train | a | 2 | 2 |" in card
    assert "- CC BY 4.0: 1 video\n" in card and "- CC0: 1 video\n" in card
    assert "min: 0.1" in card and "weights: clip.pt" in card
    assert "| embedding | recall | 0.9 | 0.987654 |" in card and "histogram" not in card
    assert "/data" not in card


def captions(*texts):
    tokens = [len(text or "") for text in texts]
    named = ["qwen@1" if text else None for text in texts]
    return dict(zip(FACTS, (list(texts), named, tokens, tokens), strict=True))


def test_the_card_names_the_captioner_and_the_prompt(run):
    run.captions = captions("aa", "bb", "cc", "dd")
    prompts = {"default": {"text": "Tell\n  me."}}
    run.question = lambda: {"stage": {"caption": {"prompts": prompts}}}
    run.index()
    card = (run.folder / "README.md").read_text()
    assert "| qwen@1 | 3 | 6 | 6 |" in card
    assert "- `default`: Tell me." in card
    assert "1 of them could not be encoded or captioned" in card


def test_a_clip_without_its_caption_is_in_no_tar_and_must_not_be(run):
    run.captions = captions("aa", "bb", None, "dd")
    with pytest.raises(MergeRefused, match="1 clips were dealt to a tar but are not encoded or captioned: v1_0_1"):
        run.index()
    run.dealt, run.packed = run.dealt[:2], run.packed[:2]
    (run.folder / "val-a-000000.tar").unlink()
    run.index()
    assert "2 clips, 0.00 hours" in (run.folder / "README.md").read_text()


def test_a_layout_of_files_is_indexed_file_by_file(run):
    for path in run.folder.iterdir():
        path.unlink()
    of = {clip: f"{tar.split('-')[0]}/videos/{clip}.mp4" for clip, tar in TAR_OF.items()}
    run.dealt = [(clip, of[clip], clip, 0, of[clip].split("/")[0], "a", 0) for clip in of]
    samples = ((name, {"mp4": clip.encode(), "txt": b"words"}) for clip, name in of.items())
    run.packed = _files(samples, run.delivery()).to_pylist()
    left = run.folder / "train" / "metas" / ".a.txt.123.tmp"
    left.write_bytes(b"half")
    run.index()
    assert not left.exists()
    assert (run.folder / "urls.txt").read_text().split() == sorted(of.values())
    command = ["sha256sum", "--check", "--strict", "--quiet", "sha256sums.txt"]
    subprocess.run(command, cwd=run.folder, check=True)
    card = (run.folder / "README.md").read_text()
    assert (
        "metas/*.txt" in card
        and "| split | bucket | samples |" in card
        and "could not be encoded. Such clips are in no folder" in card
    )
    (run.folder / of["v1_0_1"]).unlink()
    with pytest.raises(MergeRefused, match="1 tars are gone: val/videos/v1_0_1.mp4"):
        run.index()


def test_a_recipe_without_dedup_has_a_card_without_it(run):
    run.index(dedup=False)
    assert "Near-duplicates" not in (run.folder / "README.md").read_text()
    assert "dedup_stats" in Index().reads() and "dedup_stats" not in Index(dedup=False).reads()


def test_an_unknown_licence_is_said_to_be_unknown(run):
    run.index()
    assert "- unknown: 2 videos" in (run.folder / "README.md").read_text()


def test_the_files_are_the_same_in_another_folder_and_in_another_order(tmp_path):
    found = []
    for name in ("one", "two"):
        run = Run(tmp_path / name)
        if found:
            run.packed.reverse()
            run.kept.reverse()
            run.dealt.reverse()
        run.index()
        found.append({path.name: path.read_bytes() for path in run.folder.iterdir()})
    assert found[0] == found[1]
    assert {"README.md", "index.parquet", "sha256sums.txt", "urls.txt"} < set(found[0])


def damage(run, kind):
    path = run.folder / "train-a-000000.tar"
    if kind == "a tar is gone":
        path.unlink()
    elif kind == "a tar is short":
        path.write_bytes(path.read_bytes()[:-512])
    elif kind == "a tar too many":
        (run.folder / "extra.tar").write_bytes(b"")
    elif kind == "a sample is missing":
        run.packed = run.packed[1:]
        path.unlink()
    elif kind == "a sample is twice":
        run.packed.append(run.packed[0])
    elif kind == "a sample is in another tar":
        run.packed[0]["tar"] = "train-a-000001.tar"
    elif kind == "a sample was not kept":
        run.kept = run.kept[1:]
    elif kind == "a clip was not dealt":
        run.dealt, run.packed = run.dealt[1:], run.packed[1:]
        path.unlink()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("a tar is gone", "1 tars are gone: train-a-000000.tar"),
        ("a tar is short", "1 tars do not have the size that pack wrote: train-a-000000.tar"),
        ("a tar too many", "1 tars are there that pack did not write: extra.tar"),
        ("a sample is missing", r"1 clips are not in the tar they were dealt to: v0_0_1 \(train-a-000000.tar\)"),
        ("a sample is twice", "1 clips are in a tar twice: v0_0_1"),
        ("a sample is in another tar", r"were not dealt to: v0_0_1 \(train-a-000001.tar\)"),
        ("a sample was not kept", "1 clips are in a tar but were not kept: v0_0_1"),
        ("a clip was not dealt", "1 clips were encoded but dealt to no tar: v0_0_1"),
    ],
)
def test_what_does_not_add_up_is_refused_by_name(run, kind, said):
    damage(run, kind)
    with pytest.raises(MergeRefused, match=said):
        run.index()
    assert not (run.folder / "index.parquet").exists()


def test_a_changed_tar_of_the_same_size_is_found_when_asked_to_read(run):
    path = run.folder / "train-a-000000.tar"
    raw = bytearray(path.read_bytes())
    raw[600] ^= 1
    path.write_bytes(raw)
    run.index()
    with pytest.raises(MergeRefused, match="checksum.*train-a-000000.tar"):
        run.index(rehash=True)


def test_what_a_killed_writer_left_is_removed(run):
    left = run.folder / ".train-a-000000.tar.123.tmp"
    left.write_bytes(b"half")
    run.index()
    assert not left.exists()


def test_a_run_that_kept_nothing_has_an_empty_index(run):
    for path in run.folder.iterdir():
        path.unlink()
    run.packed, run.dealt, run.kept = [], [], run.kept[-1:]
    assert run.index().num_rows == 0
    assert pq.read_table(run.folder / "index.parquet").num_rows == 0
    assert (run.folder / "urls.txt").read_text() == ""
