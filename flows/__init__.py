"""The DAG, its engines and the command line; Prefect is imported here and nowhere else."""
