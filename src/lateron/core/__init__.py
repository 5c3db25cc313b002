"""What Lateron decides: pure functions over values, without I/O, clock or randomness."""
