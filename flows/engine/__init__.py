"""How a node of the DAG is built: session, child process, cores, retries, console."""
