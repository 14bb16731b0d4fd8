"""What subscribers are told of KV blocks, and how it reaches them."""
