"""`irismq run --processes`: several processes of one tree, and a parent that only supervises."""
