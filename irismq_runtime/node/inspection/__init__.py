"""What a node tells of itself and of others: health, numbers, reports."""
