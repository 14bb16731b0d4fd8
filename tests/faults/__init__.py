"""What breaks around a daemon, or is broken: it loses no request, says what is wrong, and goes on when that is over."""
