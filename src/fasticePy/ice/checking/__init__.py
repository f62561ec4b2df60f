"""Pairs and their checks: the peer's candidates, checklists, requests, consent, TCP connections (RFC 8445 6, 7)."""
