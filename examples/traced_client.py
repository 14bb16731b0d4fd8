"""Asks a question under a span of its own, which the server's is a part of; both go to one collector.

Start a collector that takes OTLP over HTTP at port 4318, such as Jaeger, and the server:
    make run ARGS="--otlp-traces-endpoint http://localhost:4318/v1/traces"
Then: pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http openai
"""

import sys

from openai import OpenAI
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import inject
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import format_trace_id

server = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:8000"
collector = sys.argv[2] if len(sys.argv) > 2 else "http://localhost:4318/v1/traces"  # noqa: PLR2004

provider = TracerProvider(resource=Resource.create({"service.name": "traced-client"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(collector)))
tracer = provider.get_tracer("examples")
client = OpenAI(base_url=f"{server}/v1", api_key="none")
model = client.models.list().data[0].id

with tracer.start_as_current_span("question") as span:
    headers: dict[str, str] = {}
    inject(headers)  # traceparent, and tracestate if there is any
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "What is a span?"}], max_tokens=16, extra_headers=headers
    )
    span.set_attribute("answer.id", answer.id)

print("trace", format_trace_id(span.get_span_context().trace_id))
print("answer", answer.choices[0].message.content)
provider.shutdown()
