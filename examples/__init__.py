"""Real little services on irismq-runtime; the tests run each of them."""
