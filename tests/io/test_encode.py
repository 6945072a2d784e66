"""Encoding a clip: exactly the frames of its span, at their own times, and the picture as a player would show it.

Pixels are compared where the encoder is lossless (crf=0), so that any other difference is one of ours.
"""

import re
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hpc_curate.errors import BadInput, EnvironmentFault, UnitFailed
from hpc_curate.io import encode as encoder
from hpc_curate.io import remux
from hpc_curate.io.encode import Encoding, Rectangle, Source, Wanted, encode, even_inside
from hpc_curate.records import Span

LOSSLESS = Encoding(crf=0)
H264 = ("-c:v", "libx264", "-crf", "12", "-pix_fmt", "yuv420p", "-threads", "1")


@pytest.fixture
def listed(ffmpeg):
    """Shows the decoded frames (or the packets) of a file as framecrc does: time base, [(pts, duration, checksum)]."""

    def show(path, *options, codec="rawvideo", base=Fraction(1, 24000)):
        ticks = f"{base.numerator}:{base.denominator}"
        base = ["-fps_mode", "passthrough", "-enc_time_base", ticks] if codec == "rawvideo" else []
        command = [ffmpeg, "-v", "error", "-copyts", "-i", f"file:{path}", "-map", "0:v:0", *options]
        command += ["-c:v", codec, *base, "-f", "framecrc", "-"]
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        rows = [line.split(",") for line in text.splitlines() if line[0] != "#"]
        base = Fraction(re.search(r"#tb 0: (\S+)", text)[1])
        return base, sorted((int(row[2]), int(row[3]), row[5].strip()) for row in rows)

    return show


@pytest.fixture
def pixels(ffmpeg):
    """Decodes a file as a player would: uint8 [N, H, W, 3] RGB, or luma uint8 [N, H, W]."""

    def decode(path, width, height, form="rgb24"):
        command = [ffmpeg, "-v", "error", "-i", f"file:{path}", "-map", "0:v:0", "-fps_mode", "passthrough"]
        command += ["-f", "rawvideo", "-pix_fmt", form, "-"]
        raw = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        if form == "rgb24":
            return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)
        return np.frombuffer(raw, np.uint8).reshape(-1, height * 3 // 2, width)[:, :height]

    return decode


@pytest.fixture
def described(ffmpeg):
    """What ffmpeg says of the streams of a file."""

    def describe(path):
        text = subprocess.run([ffmpeg, "-hide_banner", "-i", f"file:{path}"], stderr=subprocess.PIPE, text=True).stderr
        return "\n".join(line for line in text.splitlines() if "Stream" in line or "encoder" in line)

    return describe


def source(path, width=64, height=48, base=Fraction(1, 24000), **facts):
    container = {".ts": "mpegts", ".mkv": "matroska,webm", ".avi": "avi", ".m1v": "mpegvideo"}.get(
        path.suffix, "mov,mp4"
    )
    return Source(path, container, base, facts.pop("start_pts", 0), width, height, **facts)


def whole(of, frames, end_pts, **picture):
    part = Rectangle(0, 0, of.width, of.height)
    return Wanted(Span(of.start_pts, end_pts), frames, even_inside(replace(part, **picture)))


FILM = ("testsrc2=s=64x48:r=24000/1001:d=6", *H264, "-bf", "3", "-g", "40")


@pytest.mark.parametrize("first", [0, 1, 39, 40, 41, 100])
def test_the_frames_are_exactly_those_of_the_span(make_video, listed, tmp_path, first):
    film = make_video("film.mp4", *FILM)
    _, frames = listed(film)
    of = source(film)
    wanted = whole(of, 23, 0)
    wanted = replace(wanted, span=Span(first * 1001, (first + 23) * 1001))
    made = encode(of, wanted, LOSSLESS, tmp_path / "clip.mp4")
    _, clip = listed(tmp_path / "clip.mp4")
    assert [crc for *_, crc in clip] == [crc for *_, crc in frames[first : first + 23]]
    assert [pts for pts, *_ in clip] == [1001 * n for n in range(23)]
    assert (made.frames, made.duration_s) == (23, round(23 * 1001 / 24000, 6))


@pytest.mark.parametrize(
    ("name", "options", "base"),
    [
        ("offset.ts", ("-output_ts_offset", "7"), Fraction(1, 90000)),
        ("offset.mkv", ("-output_ts_offset", "3"), Fraction(1, 1000)),
        ("editlist.mp4", ("-output_ts_offset", "2", "-movflags", "+negative_cts_offsets"), Fraction(1, 24000)),
        ("plain.avi", ("-bf", "0"), Fraction(1001, 24000)),
        ("bare.m1v", ("-c:v", "mpeg1video", "-q:v", "2"), Fraction(1, 1200000)),
    ],
)
def test_time_is_that_of_the_stream_whatever_the_container(make_video, listed, name, options, base):
    film = make_video(name, *FILM, *options)
    out = film.with_name("clip.mp4")
    _, frames = listed(film, base=base)
    times, pictures = [pts for pts, *_ in frames], [crc for *_, crc in frames]
    of = source(film, base=base, start_pts=times[0])
    wanted = replace(whole(of, 30, 0), span=Span(times[90], times[120]))
    encode(of, wanted, LOSSLESS, out)
    found, clip = listed(out, codec="copy")
    assert [crc for *_, crc in listed(out)[1]] == pictures[90:120]
    assert [pts * found for pts, *_ in clip] == [(pts - times[90]) * base for pts in times[90:120]]


def test_a_variable_rate_keeps_its_times(make_video, listed, tmp_path):
    """Every third frame of 30/s is missing, and one pause lasts a second."""
    graph = "testsrc2=s=64x48:r=30:d=6,select='mod(n,3)*(lt(n,60)+gt(n,90))'"
    film = make_video("variable.mkv", graph, *H264, "-fps_mode", "passthrough")
    base, frames = listed(film, codec="copy")
    times = [pts for pts, *_ in frames]
    of = source(film, base=base)
    wanted = replace(whole(of, 40, 0), span=Span(times[20], times[60]))
    made = encode(of, wanted, LOSSLESS, tmp_path / "clip.mp4")
    found, clip = listed(tmp_path / "clip.mp4", codec="copy")
    assert [pts * found for pts, *_ in clip] == [(pts - times[20]) * base for pts in times[20:60]]
    assert made.frames == 40


@pytest.mark.parametrize(("first", "last"), [(0, 30), (66, 96), (109, 140)])
def test_a_variable_rate_with_reordered_frames_is_cut_anywhere(make_video, listed, tmp_path, first, last):
    """An mp4 stores how long frames last in the order of decoding, so that of the last one shown may be any."""
    graph = "testsrc2=s=64x48:r=25:d=16,select='not(mod(n,7))+lt(mod(n,50),12)'"
    film = make_video("uneven.mp4", graph, *H264, "-bf", "3", "-fps_mode", "passthrough")
    base, frames = listed(film, base=Fraction(1, 12800))
    times = [*(pts for pts, *_ in frames), frames[-1][0] + 512]
    assert len(frames) == 140
    of = source(film, base=base)
    wanted = replace(whole(of, last - first, 0), span=Span(times[first], times[last]))
    made = encode(of, wanted, LOSSLESS, tmp_path / "clip.mp4")
    _, clip = listed(tmp_path / "clip.mp4")
    assert [crc for *_, crc in clip] == [crc for *_, crc in frames[first:last]]
    assert made.duration_s <= (times[last] - times[first]) / 12800


def test_a_last_frame_that_is_held_is_shown_no_longer_than_planned(make_video, listed, tmp_path):
    """Recordings of a screen often end so; scan lets the last frame last as long as frames mostly do."""
    held = ("-bsf:v", "setts=duration='if(eq(N,59),3/TB,DURATION)'")
    film = make_video("held.mp4", "testsrc2=s=64x48:r=30:d=2", *H264, "-bf", "0", *held)
    of = source(film, base=Fraction(1, 15360))
    assert encode(of, whole(of, 60, 60 * 512), LOSSLESS, tmp_path / "clip.mp4").duration_s == 2
    _, frames = listed(tmp_path / "clip.mp4", codec="copy", base=Fraction(1, 15360))
    assert max(duration for _, duration, _ in frames) == 512


def test_frames_without_a_later_time_are_left_out_as_scan_does(make_video, listed, tmp_path):
    """In some containers two frames have one time."""
    later = "setts=pts='if(eq(N,70),PREV_OUTPTS,PTS)':dts='if(eq(N,70),PREV_OUTDTS,DTS)'"
    film = make_video("twice.mkv", "testsrc2=s=64x48:r=25:d=6", *H264, "-bf", "0", "-bsf:v", later)
    base, frames = listed(film, base=Fraction(1, 1000))
    assert [pts for pts, *_ in frames[68:72]] == [2720, 2760, 2760, 2840]
    of = source(film, base=base)
    made = encode(of, replace(whole(of, 19, 0), span=Span(2600, 3400)), LOSSLESS, tmp_path / "clip.mp4")
    assert made.frames == 19
    assert [pts for pts, *_ in listed(tmp_path / "clip.mp4", base=base)[1]][3:6] == [120, 160, 240]


def test_the_level_follows_from_the_frame_rate(make_video, described, tmp_path):
    """Timed in ticks, x264 would think of 24000 frames a second and claim the highest level."""
    of = source(make_video("film.mp4", *FILM))
    encode(of, whole(of, 20, 20 * 1001), Encoding(), tmp_path / "clip.mp4")
    data = (tmp_path / "clip.mp4").read_bytes()
    level = data[data.index(b"avcC") + 7]
    assert level <= 11
    assert "23.98 fps" in described(tmp_path / "clip.mp4")


def test_the_same_settings_make_the_same_bytes_that_name_no_version(make_video, tmp_path):
    of = source(make_video("film.mp4", *FILM))
    for name in ("one.mp4", "two.mp4"):
        encode(of, whole(of, 20, 20 * 1001), Encoding(), tmp_path / name)
    one, two = ((tmp_path / name).read_bytes() for name in ("one.mp4", "two.mp4"))
    assert one == two
    assert b"Lavf" not in one and not re.search(rb"Lavc\d", one)
    assert one.index(b"moov") < one.index(b"mdat")


def test_keyframes_come_as_often_as_asked(make_video, listed, ffmpeg, tmp_path):
    of = source(make_video("film.mp4", *FILM))
    encode(of, whole(of, 120, 120 * 1001), Encoding(gop_s=0.5), tmp_path / "clip.mp4")
    _, keys = listed(tmp_path / "clip.mp4", "-bsf:v", "noise=drop=not(key)", codec="copy")
    gaps = np.diff([pts for pts, *_ in keys] + [120 * 1001])
    assert gaps.max() <= 12 * 1001


def test_a_crop_takes_the_picture_and_none_of_the_border(make_video, pixels, tmp_path):
    """White from (10, 6) to (54, 42) on black; an odd corner is rounded inwards."""
    picture = "color=black:s=64x48:r=10:d=1,drawbox=10:6:44:36:white:fill"
    of = source(make_video("bars.mkv", picture, *H264, "-qp", "0"), base=Fraction(1, 1000))
    wanted = whole(of, 10, 1000, x=9, y=5, width=46, height=38)
    made = encode(of, wanted, LOSSLESS, tmp_path / "clip.mp4")
    assert (made.width, made.height) == (44, 36)
    assert pixels(tmp_path / "clip.mp4", 44, 36).min() > 250


def test_odd_sizes_lose_a_line_and_are_not_stretched(make_video, pixels, tmp_path):
    film = make_video(
        "odd.mkv", "testsrc2=s=64x48:r=10:d=1,format=yuv444p,scale=65:49", "-c:v", "ffv1", "-pix_fmt", "yuv444p"
    )
    of = source(film, 65, 49, Fraction(1, 1000))
    made = encode(of, whole(of, 10, 1000), LOSSLESS, tmp_path / "clip.mp4")
    assert (made.width, made.height) == (64, 48)
    before = pixels(film, 65, 49)[:, :48, :64].astype(int).mean(axis=3)
    after = pixels(tmp_path / "clip.mp4", 64, 48).astype(int).mean(axis=3)
    assert np.abs(before - after).mean() < 12  # chroma at half the resolution; a stretch would give 40


def test_a_turned_video_is_encoded_upright(make_video, pixels, ffmpeg, described, tmp_path):
    """Red at the left; told to turn by a quarter clockwise, a player shows red at the top."""
    flat = make_video("flat.mp4", "color=black:s=64x48:r=10:d=1,drawbox=0:0:32:48:red:fill", *H264)
    turned = tmp_path / "turned.mp4"
    command = [ffmpeg, "-v", "error", "-display_rotation", "-90", "-i", flat, "-c", "copy", turned]
    subprocess.run(command, check=True)
    of = source(turned, 48, 64, Fraction(1, 10240))
    made = encode(of, whole(of, 10, 10240), LOSSLESS, tmp_path / "clip.mp4")
    assert (made.width, made.height) == (48, 64)
    shown = pixels(tmp_path / "clip.mp4", 48, 64)[0]
    assert shown[4, 24, 0] > 200 and shown[60, 24, 0] < 30
    assert "rotat" not in described(tmp_path / "clip.mp4")


def test_wide_pixels_become_square_ones(make_video, pixels, described, tmp_path):
    film = make_video("wide.mkv", "color=white:s=48x48:r=10:d=1,setsar=4/3", *H264)
    of = source(film, 64, 48, Fraction(1, 1000))
    made = encode(of, whole(of, 10, 1000), LOSSLESS, tmp_path / "clip.mp4")
    assert (made.width, made.height) == (64, 48)
    assert "SAR 1:1" in described(tmp_path / "clip.mp4")


def test_a_large_picture_is_made_smaller_and_a_small_one_is_left(make_video, tmp_path):
    of = source(make_video("film.mp4", *FILM))
    sizes = []
    for limit in (36, 25, 48, 1000):
        made = encode(of, whole(of, 5, 5 * 1001), Encoding(max_short_side_px=limit), tmp_path / "clip.mp4")
        sizes.append((made.width, made.height))
    assert sizes == [(48, 36), (32, 24), (64, 48), (64, 48)]


def test_full_range_becomes_limited_and_looks_the_same(make_video, pixels, described, tmp_path):
    film = make_video("full.avi", "color=white:s=64x48:r=10:d=1", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")
    of = source(film, base=Fraction(1, 10))
    encode(of, whole(of, 10, 10), LOSSLESS, tmp_path / "clip.mp4")
    assert abs(int(pixels(tmp_path / "clip.mp4", 64, 48, "yuv420p").max()) - 235) <= 1
    assert pixels(tmp_path / "clip.mp4", 64, 48).min() >= 253
    assert "yuv420p(tv" in described(tmp_path / "clip.mp4")


@pytest.mark.parametrize(
    ("height", "facts", "said"),
    [
        (48, {}, "smpte170m"),
        (720, {}, "bt709"),
        (48, {"matrix": "bt709", "primaries": "bt709", "transfer": "bt709"}, "bt709"),
        (48, {"matrix": "bt470bg", "primaries": "bt470bg", "transfer": "smpte170m"}, "bt470bg/bt470bg/smpte170m"),
        (48, {"matrix": "gbr", "primaries": "unknown", "transfer": None}, "smpte170m"),
    ],
)
def test_colours_are_named_as_the_source_or_its_size_says(make_video, described, height, facts, said):
    film = make_video("plain.mkv", f"color=red:s=64x{height}:r=10:d=0.5", *H264)
    out = film.with_name("clip.mp4")
    of = source(film, 64, height, Fraction(1, 1000), **facts)
    encode(of, whole(of, 5, 500), LOSSLESS, out)
    assert re.search(rf"yuv420p\(tv, {said}[,)]", described(out))


@pytest.mark.parametrize(("matrix", "named"), [("bt470bg", "bt470"), ("bt2020nc", "bt2020"), ("bt709", "bt709")])
def test_the_scaler_is_told_names_that_all_its_versions_know(matrix, named):
    """ffmpeg 7 knows PAL by no other, and refuses what it does not know."""
    of = source(Path("film.mp4"), matrix=matrix)
    filters = encoder.graph(of, whole(of, 1, 1001), Encoding())
    assert f"in_color_matrix={named}:out_color_matrix={named}:" in filters
    assert f":colorspace={matrix}" in filters


def test_rgb_sources_keep_their_colours(make_video, pixels, tmp_path):
    film = make_video("red.mkv", "color=0xC83214:s=64x48:r=10:d=1", "-c:v", "ffv1", "-pix_fmt", "bgr0")
    of = source(film, base=Fraction(1, 1000), matrix="gbr")
    encode(of, whole(of, 10, 1000), LOSSLESS, tmp_path / "clip.mp4")
    before, after = (pixels(path, 64, 48).astype(int) for path in (film, tmp_path / "clip.mp4"))
    assert np.abs(before - after).max() <= 3


def test_interlaced_fields_are_woven_out(make_video, pixels, tmp_path):
    """A bar moves 4 pixels per field: combed, its edge jumps from line to line; deinterlaced it does not."""
    bar = "color=black:s=64x48:r=20:d=1[b];color=white:s=16x48:r=20:d=1[w];[b][w]overlay=x='4*n':y=0"
    fields = f"{bar},tinterlace=mode=interleave_top,setfield=tff"
    film = make_video("fields.mkv", fields, *H264, "-flags", "+ilme+ildct")
    of = source(film, base=Fraction(1, 1000))
    combed = encode(of, whole(of, 10, 1000), LOSSLESS, tmp_path / "combed.mp4")
    of = replace(of, interlaced=True)
    clean = encode(of, whole(of, 10, 1000), LOSSLESS, tmp_path / "clean.mp4")

    def comb(name):
        luma = pixels(tmp_path / name, 64, 48, "yuv420p")[1:-1, 4:-4].astype(int)
        return np.abs(luma[:, 1:-1] * 2 - luma[:, :-2] - luma[:, 2:]).mean()

    assert comb("clean.mp4") < 0.4 * comb("combed.mp4")
    assert (clean.frames, clean.duration_s) == (combed.frames, combed.duration_s) == (10, 1.0)


def test_hdr_is_tone_mapped(make_video, pixels, described, tmp_path):
    """Five greys at PQ: 0, 10, 100, 203 (paper white) and 1000 cd/m2."""
    codes = [64, 331, 509, 573, 723]  # 10 bits, limited range, by SMPTE ST 2084
    steps = "+".join(f"{code}*between(X,{16 * n},{16 * n + 15})" for n, code in enumerate(codes))
    graph = f"color=black:s=80x48:r=10:d=0.5,format=yuv420p10le,geq=lum='{steps}':cb=512:cr=512"
    tags = ("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc", "-color_range", "tv")
    film = make_video("hdr.mkv", graph, "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", *tags)
    of = source(film, 80, 48, Fraction(1, 1000), hdr=True, primaries="bt2020", transfer="smpte2084", matrix="bt2020nc")
    encode(of, whole(of, 5, 500), LOSSLESS, tmp_path / "clip.mp4")
    shown = pixels(tmp_path / "clip.mp4", 80, 48)[2, 24, 8::16].astype(int)
    assert np.ptp(shown, axis=1).max() <= 3  # grey stays grey
    levels = shown.mean(axis=1)
    assert levels[0] < 3 and (np.diff(levels) > 15).all()
    assert 80 < levels[3] < 230  # paper white is bright, with room above it
    assert "yuv420p(tv, bt709" in described(tmp_path / "clip.mp4")


def test_sound_is_kept_in_step_or_dropped(ffmpeg, described, tmp_path):
    """A click at 3.5 s of the source is at 0.5 s of the clip that begins at 3 s."""
    film = tmp_path / "click.mp4"
    click = "aevalsrc='if(between(t,3.5,3.52),sin(6000*t),0)':s=48000:d=6"
    command = [ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=6", "-f", "lavfi", "-i", click]
    subprocess.run([*command, *H264, "-c:a", "aac", film], check=True)
    of = source(film, base=Fraction(1, 12800), has_audio=True)
    wanted = replace(whole(of, 50, 0), span=Span(3 * 12800, 5 * 12800))
    encode(of, wanted, Encoding(), tmp_path / "mute.mp4")
    assert "Audio" not in described(tmp_path / "mute.mp4")
    encode(of, wanted, Encoding(audio=True), tmp_path / "loud.mp4")
    command = [ffmpeg, "-v", "error", "-i", tmp_path / "loud.mp4", "-f", "f32le", "-ac", "1", "-"]
    heard = np.frombuffer(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout, np.float32)
    assert abs(np.flatnonzero(np.abs(heard) > 0.2)[0] / 48000 - 0.5) < 0.02
    assert abs(len(heard) / 48000 - 2) < 0.05


def test_frames_that_are_not_there_are_an_error(make_video, tmp_path):
    of = source(make_video("film.mp4", *FILM))
    with pytest.raises(BadInput, match="21 frames were planned, 20 came out"):
        encode(of, whole(of, 21, 20 * 1001), Encoding(), tmp_path / "clip.mp4")


def test_a_file_that_is_no_video_is_an_error_of_the_clip(tmp_path):
    (tmp_path / "film.mp4").write_text("#EXTM3U\n")
    of = source(tmp_path / "film.mp4")
    with pytest.raises(BadInput):
        encode(of, whole(of, 20, 20 * 1001), Encoding(), tmp_path / "clip.mp4")


def test_a_full_disk_is_no_error_of_the_clip(make_video):
    of = source(make_video("film.mp4", *FILM))
    with pytest.raises(EnvironmentFault, match="No space left"):
        encode(of, whole(of, 20, 20 * 1001), Encoding(), Path("/dev/full"))


def test_an_encoder_that_this_machine_lacks_is_no_error_of_the_clip(make_video, tmp_path):
    of = source(make_video("film.mp4", *FILM))
    with pytest.raises(UnitFailed, match="Unknown encoder 'h264_of_tomorrow'.*stage.cut.codec"):
        encode(of, whole(of, 20, 20 * 1001), Encoding(codec="h264_of_tomorrow"), tmp_path / "clip.mp4")


def test_a_node_without_the_card_is_no_error_of_the_clip(make_video, described, tmp_path):
    of = source(make_video("film.mp4", "testsrc2=s=320x240:r=24000/1001:d=1", *H264), 320, 240)
    try:
        encode(of, whole(of, 20, 20 * 1001), Encoding(codec="h264_nvenc", preset="p4"), tmp_path / "clip.mp4")
    except UnitFailed as error:
        assert "stage.cut.codec" in str(error)
    else:
        assert "h264" in described(tmp_path / "clip.mp4")


def test_a_name_cannot_pretend_that_the_disk_is_full(tmp_path):
    film = tmp_path / "x: No space left on device"
    film.write_text("nothing")
    of = source(film)
    with pytest.raises(BadInput):
        encode(of, whole(of, 20, 20 * 1001), Encoding(), tmp_path / "clip.mp4")


# -- copies --------------------------------------------------------------------------------------------------------


def shots(make_video):
    """Keyframes at 0, 40, 80 ... of 143 frames; closed groups, so that each stands alone."""
    return make_video("shots.mp4", *FILM, "-sc_threshold", "0", "-x264-params", "open-gop=0")


def test_a_copy_between_keyframes_has_the_same_packets(make_video, listed, tmp_path):
    film = shots(make_video)
    of = source(film)
    wanted = replace(whole(of, 40, 0), span=Span(80 * 1001, 120 * 1001))
    made = remux.copy(of, wanted, Encoding(), tmp_path / "clip.mp4", 0.0)
    _, before = listed(film)
    _, after = listed(tmp_path / "clip.mp4")
    assert [crc for *_, crc in after] == [crc for *_, crc in before[80:120]]
    assert [pts for pts, *_ in after] == [1001 * n for n in range(40)]
    assert (made.frames, made.first_pts) == (40, 80 * 1001)


def test_a_copy_begins_with_a_keyframe_or_is_refused(make_video, tmp_path):
    of = source(shots(make_video))
    wanted = replace(whole(of, 42, 0), span=Span(78 * 1001, 120 * 1001))
    with pytest.raises(BadInput, match="no keyframe"):
        remux.copy(of, wanted, Encoding(), tmp_path / "clip.mp4", 0.05)
    made = remux.copy(of, wanted, Encoding(), tmp_path / "clip.mp4", 0.1)
    assert (made.frames, made.first_pts) == (40, 80 * 1001)


def test_a_copy_that_would_end_inside_a_reordered_group_is_refused(make_video, tmp_path):
    of = source(shots(make_video))
    refused = 0
    for frames in range(30, 36):
        wanted = replace(whole(of, frames, 0), span=Span(80 * 1001, (80 + frames) * 1001))
        try:
            made = remux.copy(of, wanted, Encoding(), tmp_path / "clip.mp4", 0.0)
            assert made.frames == frames
        except BadInput as error:
            assert "need one after it" in str(error)
            refused += 1
    assert 0 < refused < 6


def test_a_copy_keeps_the_sound_of_the_span_if_asked(ffmpeg, make_video, described, tmp_path):
    film = tmp_path / "loud.mp4"
    command = [ffmpeg, "-v", "error", "-i", shots(make_video), "-f", "lavfi", "-i", "sine=d=6", "-c:v", "copy", film]
    subprocess.run(command, check=True)
    of = source(film, has_audio=True)
    wanted = replace(whole(of, 40, 0), span=Span(80 * 1001, 120 * 1001))
    assert remux.copy(of, wanted, Encoding(audio=True), tmp_path / "clip.mp4", 0.0).frames == 40
    assert "Audio: aac" in described(tmp_path / "clip.mp4")


def test_packets_around_a_span_are_listed_with_their_keys(make_video):
    of = source(shots(make_video))
    found = remux.packets(of, replace(whole(of, 40, 0), span=Span(80 * 1001, 120 * 1001)))
    assert [packet.pts // 1001 for packet in found if packet.key] == [40, 80, 120]


def test_seeking_is_for_what_lies_far_from_the_beginning(make_video):
    of = source(make_video("film.mp4", *FILM))
    assert not encoder.far(of, Span(24024, 48048))
    assert encoder.far(of, Span(3 * 24024, 4 * 24024))
