"""What broke llm-d-inference-sim, done to this server; docs/known-faults.rst lists it, with tests elsewhere."""
