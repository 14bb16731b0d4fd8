"""The ``twistd vllmsim`` command."""

from twisted.application.service import ServiceMaker

vllmsim = ServiceMaker("vLLM simulator", "vllmsim.tap", "Simulate a vLLM inference server.", "vllmsim")
