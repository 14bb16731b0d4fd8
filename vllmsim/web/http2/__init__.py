"""HTTP/2: connections of many streams, each of which is an exchange like one of HTTP/1.1.

It is the only place that knows h2, and is imported when the first connection wants it.
"""
