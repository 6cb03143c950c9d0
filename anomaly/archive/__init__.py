"""Archives: millions of images in, one Parquet table out, each image exactly once. Knows no options of commands."""
