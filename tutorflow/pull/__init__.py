"""From the sources' files to immutable Parquet in the landing, with one outcome per attempt."""
