"""The shapes of answers as clients may rely on them: types for ``/openapi.json``."""
