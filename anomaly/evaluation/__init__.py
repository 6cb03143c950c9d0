"""Maps and labels to figures: one category, one run, tables and files."""
