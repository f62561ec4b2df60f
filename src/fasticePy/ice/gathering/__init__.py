"""Local candidates: sockets, servers, rewriting and hiding of addresses (RFC 8445 5.1)."""
