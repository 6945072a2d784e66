"""Slurm, its job arrays, its containers: with launch.py the only place that knows of them."""
