"""A crawler: a durable queue of pages to fetch, one request at a time for each host."""
