"""irismq_runtime."""
