"""What a person asks while it runs: how far, how fast, what failed and why, and what to try again."""
