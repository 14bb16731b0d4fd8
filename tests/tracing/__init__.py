"""What makes spans of requests, and sends them."""
