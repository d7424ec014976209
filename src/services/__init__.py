"""Business logic and orchestration. Services know the ports of `repositories.ports`, never a vendor."""
