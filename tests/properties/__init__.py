"""A whole rank under whatever clients, operators and time may do: what must hold after each step, and in the end."""
