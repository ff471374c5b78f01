"""One run: its folder, record, metrics and provenance, how it is built, trained and continued."""
