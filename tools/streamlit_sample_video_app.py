#!/usr/bin/env python3
"""Sampled videos to look at in a browser: `hpc-curate browse`, under the options of a well-known script.

streamlit run tools/streamlit_sample_video_app.py -- --input_dir FOLDER|s3://BUCKET/PREFIX --nsamples 36
"""

from __future__ import annotations

import argparse

from streamlit.starlette import App

from hpc_curate.browse import options, server


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--input_dir", dest="of", required=True, help="a folder, a list, s3://bucket/prefix, a run")
    options.add_options(parser)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit("start it by: streamlit run tools/streamlit_sample_video_app.py -- --input_dir FOLDER")
# `streamlit run` reads this line, finds that it makes an App, and serves it.
app = App(server.PAGE, **server.stock(asked()))
