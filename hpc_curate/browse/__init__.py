"""Looking at what there is, and saying what one thinks of it: videos, clips of a run, samples of finished tars."""
