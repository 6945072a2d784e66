"""The script that Streamlit runs: which pages there are, and what they all show."""

import streamlit as st
from PIL import Image

from hpc_curate.browse.opened import current
from hpc_curate.browse.pages import audit, duplicates, looks, thresholds, watch

# A picture of our own: Streamlit would fetch a named one from elsewhere.
st.set_page_config(page_title="hpc_curate", page_icon=Image.new("RGB", (32, 32), "#2f6fbd"), layout="wide")
looks.dress()

shown = current().collection
pages = [
    st.Page(watch.page, title="Watch", icon=":material/grid_view:", url_path="watch", default=True),
    st.Page(thresholds.page, title="Thresholds", icon=":material/tune:", url_path="thresholds"),
]
if shown.kind == "run":
    pages.append(st.Page(duplicates.page, title="Duplicates", icon=":material/difference:", url_path="duplicates"))
pages.append(st.Page(audit.page, title="Blind audit", icon=":material/visibility_off:", url_path="audit"))
page = st.navigation(pages, position="top")
page.run()
