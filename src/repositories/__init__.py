"""Ports, and the adapters that speak to SQLite and the object stores."""
