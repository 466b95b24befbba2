"""One module a contestant: `measure(scale)` gives its figures by row."""
