"""Looking before curating: a grid of sampled videos or clips, all playing at once."""
