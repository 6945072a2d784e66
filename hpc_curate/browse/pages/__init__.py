"""The pages of the viewer. Only Streamlit imports them, and nothing else here knows Streamlit's elements."""
