"""The simulated KV cache: blocks, the hashes they are found by, and what subscribers are told of them."""
