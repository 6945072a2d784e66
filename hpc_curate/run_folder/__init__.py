"""The run folder: what has been asked, what is done, who is at what, and the tables that are there."""
