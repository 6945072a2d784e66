import pytest

from hpc_curate.errors import ConfigError
from hpc_curate.learning import labels
from hpc_curate.learning.verdicts import Verdict, VerdictFile


def written(tmp_path, text, name="labels.csv"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_the_order_of_the_table_changes_nothing_and_rows_without_a_label_are_left_out(tmp_path):
    path = written(tmp_path, "clip_id,who,useful\nb_0_9,me,1\na_0_9,me,0\nc_0_9,me,\nb_0_9,you,1\n")
    found = labels.read(path, "useful")
    assert found.ids == ["a_0_9", "b_0_9"]
    assert found.numbers().tolist() == [0, 1]
    assert found.videos().tolist() == ["a", "b"]


def test_truth_values_are_numbers_and_words_are_not(tmp_path):
    lines = '{"clip_id": "a_0_9", "label": true}\n{"clip_id": "b_0_9", "label": false}\n'
    assert labels.read(written(tmp_path, lines, "labels.jsonl"), "label").numbers().tolist() == [1, 0]
    words = labels.read(written(tmp_path, "clip_id,label\na_0_9,good\n"), "label")
    assert words.texts == ["good"]
    with pytest.raises(ConfigError, match="label of a_0_9 is 'good'; give numbers"):
        words.numbers()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clip_id,label\na,1\na,0\n", "1 clip with two labels, such as a"),
        ("clip_id,lable\na,1\n", "no column 'label'; did you mean 'lable'.*column clip_id, as hpc-curate table writes"),
        ("clip_id,label\n", "no row with a clip_id"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tmp_path, text, said):
    with pytest.raises(ConfigError, match=said):
        labels.read(written(tmp_path, text), "label")


def test_a_file_that_is_none_of_the_kinds_or_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="must end in"):
        labels.read(tmp_path / "labels.xlsx", "label")
    with pytest.raises(ConfigError, match="cannot be read"):
        labels.read(tmp_path / "absent.csv", "label")


def test_verdicts_of_several_people_are_labels_and_so_is_each_tag(tmp_path):
    VerdictFile(tmp_path / "ann.parquet", "ann").add(
        [Verdict("a_0_9", "reject", ("blurry",)), Verdict("b_0_9", "accept")]
    )
    VerdictFile(tmp_path / "bob.parquet", "bob").add(
        [Verdict("a_0_9", "accept"), Verdict("c_0_9", None, ("low light",))]
    )
    found = labels.read(tmp_path, "verdict")
    assert found.texts == ["reject", "accept"] and found.numbers().tolist() == [0, 1]
    assert labels.read(tmp_path, "tag_low light").numbers().tolist() == [0, 0, 1]
    assert labels.read(tmp_path / "ann.parquet", "tag_blurry").numbers().tolist() == [1, 0]
    with pytest.raises(ConfigError, match="no column 'tag_blury'; did you mean 'tag_blurry'"):
        labels.read(tmp_path, "tag_blury")
