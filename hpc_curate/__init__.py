"""hpc_curate: GPU job arrays that turn raw video into training data."""

__version__ = "0.1.0"
