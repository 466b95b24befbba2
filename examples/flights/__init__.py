"""The flights that left New York City in 2013, counted by two nodes that crash."""
