"""Everything that decodes a picture; the only importers of pyvips."""
