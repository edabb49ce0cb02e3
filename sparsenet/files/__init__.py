"""Floor 4: networks as files."""
