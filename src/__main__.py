"""`python -m src` in the repository is `image-service` where the wheel is installed."""

from .cli import run

run()
