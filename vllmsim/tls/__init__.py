"""TLS for any Twisted server: two endpoints whose certificates are made at the start, or read again when they change.

``selfsignedtls:PORT`` and ``reloadingtls:PORT:certKey=FILE:privateKey=FILE`` are plugins of Twisted's, so that other
programs may listen there too. Nothing of OpenSSL is imported before one of them is asked for.
"""
