"""What travels over the signalling: descriptions, SDP, and the rules of offer and answer (RFC 8839, 8840, 9143)."""
