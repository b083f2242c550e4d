"""Work on images, cut in shards and handed to threads, processes or the workers of a Dask cluster."""
