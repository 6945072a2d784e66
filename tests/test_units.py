import multiprocessing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hpc_curate import units
from hpc_curate.io.paths import RunPaths
from hpc_curate.records import UNITS, video_id
from hpc_curate.sources import ENTRIES


def entries(*sizes, start=0, version="1"):
    """Videos /d/0000.mp4, /d/0001.mp4 ... of these sizes in GB."""
    rows = [
        {"uri": f"/d/{n:04d}.mp4", "name": f"{n:04d}.mp4", "bytes": int(size * 1e9), "version": version, "extra": "{}"}
        for n, size in enumerate(sizes, start)
    ]
    return pa.Table.from_pylist(rows, schema=ENTRIES)


def loads(paths):
    """GB per unit."""
    return [sum(video.bytes for video in units.read(paths, unit)) / 1e9 for unit in range(units.count(paths))]


@pytest.fixture
def paths(tmp_path):
    return RunPaths(tmp_path / "run")


def test_units_are_balanced_by_bytes_longest_first(paths):
    frozen = units.freeze(paths, entries(7, 6, 5, 4, 3, 2, 2, 1), unit_gb=10, unit_videos=100)
    assert (frozen.units, frozen.videos, frozen.added) == (3, 8, 8)
    assert loads(paths) == [7 + 2 + 2, 6 + 3 + 1, 5 + 4]


def test_no_unit_has_more_videos_than_it_may(paths):
    units.freeze(paths, entries(9, *[0.001] * 20), unit_gb=5, unit_videos=6)
    assert max(len(units.read(paths, unit)) for unit in range(units.count(paths))) <= 6
    assert sum(len(units.read(paths, unit)) for unit in range(units.count(paths))) == 21


def test_no_unit_is_empty(paths):
    units.freeze(paths, entries(100, 1), unit_gb=1, unit_videos=10)
    assert sorted(loads(paths)) == [1, 100]


def test_the_order_of_the_input_changes_nothing(tmp_path):
    table = entries(*[3, 1, 1, 2, 2, 5, 1, 1])
    tables = []
    for name, order in (("a", range(8)), ("b", reversed(range(8)))):
        run = RunPaths(tmp_path / name)
        units.freeze(run, table.take(list(order)), unit_gb=4, unit_videos=3)
        tables.append(units.all_videos(run))
    assert tables[0].equals(tables[1])


def test_a_video_of_unknown_size_counts_as_the_mean(paths):
    table = entries(4, 4, 4, 4).set_column(2, "bytes", pa.array([4_000_000_000, -1, 4_000_000_000, -1], pa.int64()))
    units.freeze(paths, table, unit_gb=8, unit_videos=10)
    assert [len(units.read(paths, unit)) for unit in range(units.count(paths))] == [2, 2]


def test_frozen_again_nothing_is_written(paths):
    units.freeze(paths, entries(1, 2), unit_gb=1, unit_videos=1)
    before = {file.name: file.stat().st_mtime_ns for file in paths.units.iterdir()}
    again = units.freeze(paths, entries(1, 2), unit_gb=100, unit_videos=100)
    assert (again.units, again.videos, again.added, again.changed) == (2, 2, 0, ())
    assert {file.name: file.stat().st_mtime_ns for file in paths.units.iterdir()} == before


def test_new_videos_are_appended_and_nothing_is_reshuffled(paths):
    units.freeze(paths, entries(1, 1, 1), unit_gb=2, unit_videos=10)
    before = units.all_videos(paths)
    frozen = units.freeze(paths, entries(1, 1, 1, 1, 9), unit_gb=2, unit_videos=10)
    assert (frozen.units, frozen.videos, frozen.added) == (4, 5, 2)
    assert units.all_videos(paths).slice(0, 3).equals(before)
    assert {video.uri for unit in (2, 3) for video in units.read(paths, unit)} == {"/d/0003.mp4", "/d/0004.mp4"}
    assert sorted(file.name for file in paths.units.iterdir()) == ["00000.parquet", "00001.parquet"]


def test_a_uri_given_twice_is_one_video_and_is_reported(paths):
    frozen = units.freeze(paths, pa.concat_tables([entries(1, 2), entries(1)]), unit_gb=9, unit_videos=9)
    assert (frozen.videos, frozen.repeated) == (2, ("/d/0000.mp4",))


def test_a_source_that_changed_is_reported_and_stays_as_it_was_frozen(paths):
    units.freeze(paths, entries(1, 2, 3), unit_gb=9, unit_videos=9)
    before = units.all_videos(paths)
    other_size = units.freeze(paths, entries(1, 5, 3), unit_gb=9, unit_videos=9)
    other_version = units.freeze(paths, entries(3, start=2, version="2"), unit_gb=9, unit_videos=9)
    assert (other_size.added, other_size.changed) == (0, ("/d/0001.mp4",))
    assert (other_version.added, other_version.changed) == (0, ("/d/0002.mp4",))
    assert units.freeze(paths, entries(1, version=""), unit_gb=9, unit_videos=9).changed == (), "unknown is not another"
    assert units.all_videos(paths).equals(before)


def test_a_video_is_read_back_with_all_that_is_known_of_it(paths):
    table = entries(1).set_column(4, "extra", pa.array(['{"label": "street"}']))
    units.freeze(paths, table, unit_gb=9, unit_videos=9)
    [video] = units.read(paths, 0)
    assert video.video_id == video_id("/d/0000.mp4")
    assert (video.uri, video.name, video.bytes, video.version) == ("/d/0000.mp4", "0000.mp4", 10**9, "1")
    assert video.extra == {"label": "street"}
    assert units.all_videos(paths).schema.equals(UNITS)


def test_the_unit_of_a_video_is_found(paths):
    units.freeze(paths, entries(1, 1), unit_gb=1, unit_videos=1)
    units.freeze(paths, entries(1, start=2), unit_gb=1, unit_videos=1)
    wanted = [video_id(f"/d/{n:04d}.mp4") for n in (0, 2)]
    found = units.unit_of(paths, wanted)
    assert sorted(found) == sorted(wanted)
    assert all(video in [v.video_id for v in units.read(paths, unit)] for video, unit in found.items())


def test_where_nothing_is_frozen_there_is_nothing(paths):
    assert (units.count(paths), units.read(paths, 0), units.all_videos(paths).num_rows) == (0, [], 0)
    assert units.unit_of(paths, ["0" * 20]) == {}


def test_a_worker_reads_a_small_part_of_a_large_input(paths):
    units.freeze(paths, entries(*[1] * 20_000), unit_gb=100, unit_videos=100)
    file = pq.ParquetFile(paths.units_file(0))
    groups = [file.metadata.row_group(n).column(0).statistics for n in range(file.num_row_groups)]
    assert sum(group.min <= 77 <= group.max for group in groups) <= 2
    assert len(groups) > 4


def _plan(root, start, barrier):
    barrier.wait()
    units.freeze(RunPaths(root), entries(*[1] * 300, start=start), unit_gb=10, unit_videos=10)


def test_planners_at_the_same_time_give_every_video_one_unit(paths):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    # Two plan the same input, two plan inputs that overlap.
    planners = [context.Process(target=_plan, args=(paths.root, start, barrier)) for start in (0, 0, 200, 400)]
    for planner in planners:
        planner.start()
    for planner in planners:
        planner.join(150)
    assert [planner.exitcode for planner in planners] == [0] * 4
    table = units.all_videos(paths).to_pydict()
    assert sorted(table["uri"]) == [f"/d/{n:04d}.mp4" for n in range(700)]
    assert sorted(set(table["unit"])) == list(range(units.count(paths)))
    generations = sorted(file.name for file in paths.units.iterdir())
    assert generations == [f"{n:05d}.parquet" for n in range(len(generations))]


def test_what_a_freeze_would_do_is_foreseen_and_nothing_is_written(paths):
    units.freeze(paths, entries(1, 2), unit_gb=1, unit_videos=1)
    before = sorted(paths.units.iterdir())
    more = entries(5, 1, 1, start=1)
    foreseen, videos = units.foresee(paths, more, unit_gb=2, unit_videos=2)
    assert sorted(paths.units.iterdir()) == before
    assert units.freeze(paths, more, unit_gb=2, unit_videos=2) == foreseen
    assert videos.combine_chunks().equals(units.all_videos(paths).combine_chunks())
