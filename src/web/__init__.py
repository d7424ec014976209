"""Static pages that the service serves."""
