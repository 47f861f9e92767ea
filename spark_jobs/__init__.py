"""The data work on Spark: one file a job, each a pure transform of DataFrames and a thin main."""
