"""Which pair carries the data: nomination, continuous selection, renomination, lite (RFC 8445 8)."""
