"""What became of it all: the record, reports with their conclusion, statistics."""
