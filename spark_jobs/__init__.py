"""The Spark jobs: one file per job, each with pure transforms of DataFrames and a thin main."""
