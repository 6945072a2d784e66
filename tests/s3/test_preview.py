from pathlib import Path

from hpc_curate.preview import command
from hpc_curate.preview.mosaic import Layout
from hpc_curate.preview.tiles import Wanted


def test_videos_of_a_store_play_too(s3, make_video, tmp_path):
    folder = s3.folder()
    for number in range(2):
        s3.put(f"{folder}/deep/{number}.mp4", make_video(f"{number}.mp4").read_bytes(), tmp_path)
    s3.put(f"{folder}/broken.mp4", b"no video", tmp_path)
    output = tmp_path / "sheet.png"
    said = command.make(folder, Wanted(by="folder"), Layout(2, 2, 1.0, 5), output, s3.settings)
    assert said.splitlines()[0] == f"{output}: 2 of 3, 2 x 1; {Path(tmp_path / 'sheet.json')} says which"
    assert output.stat().st_size > 1000
