"""How KV blocks are hashed, and prompts block by block."""
