"""Many pictures at once, in and out of a service: folders, and exports that lose nothing."""
