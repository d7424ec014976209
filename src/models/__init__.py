"""What the service talks about: frozen msgspec Structs."""
