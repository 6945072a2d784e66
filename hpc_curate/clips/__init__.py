"""Rows of clips: their spans, the rules they are held to, which of them are duplicates, and which stay."""
