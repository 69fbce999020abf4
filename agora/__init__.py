"""agora: structured-concurrency ETL and streaming pipelines on trio."""
