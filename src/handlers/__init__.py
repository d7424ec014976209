"""HTTP and Lambda entry points: request <-> service call, and nothing else."""
