"""Answer texts over HTTP. Requests that arrive while the model computes are its next batch.

There are no passwords and there is no TLS: it is for this machine, or behind a proxy.
    python examples/serve.py --port 8000 [--task TASK] [--model MODEL]
    curl -d '{"inputs": ["a gorgeous, witty, seductive movie"]}' http://127.0.0.1:8000/
"""

import argparse
import json
import queue
import signal
import threading
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import squeezeops

TASKS = ("text-classification", "token-classification", "question-answering", "fill-mask", "feature-extraction")
MOST_BYTES, MOST_REQUESTS = 1 << 20, 64  # of one request; that run at a time
jobs, running = queue.SimpleQueue(), threading.BoundedSemaphore(MOST_REQUESTS)


def compute(pipe):
    """Take the requests that wait, and answer them as one batch."""
    while batch := [jobs.get(), *(jobs.get() for _ in range(jobs.qsize()))]:
        results = pipe.stream([text for texts, _ in batch for text in texts])
        try:
            answers = [[next(results) for _ in texts] for texts, _ in batch]
        except Exception:  # of one of the requests: answer each alone
            answers = [None] * len(batch)
        for (texts, future), answer in zip(batch, answers, strict=True):
            try:
                future.set_result(answer or list(pipe.stream(texts)))
            except Exception as error:
                future.set_exception(error)


class Handler(BaseHTTPRequestHandler):
    protocol_version, timeout, log_message = "HTTP/1.1", 60, lambda *arguments: None  # connections stay open for 60 s
    disable_nagle_algorithm, wbufsize = True, -1  # TCP_NODELAY; headers and body leave in one packet

    def do_POST(self):
        size = self.headers.get("Content-Length", "")
        if not (size.isdecimal() and len(size) < 10 and int(size) <= MOST_BYTES):
            self.close_connection = True  # the rest of the request stays unread
            return self.reply(413, {"error": f"expected a Content-Length of at most {MOST_BYTES}"})
        body = self.rfile.read(int(size))
        with running:
            try:
                texts, future = json.loads(body)["inputs"], Future()
                jobs.put((texts if isinstance(texts, list) else [texts], future))
                answer = 200, {"results": future.result() if isinstance(texts, list) else future.result()[0]}
            except Exception as error:
                request = isinstance(error, LookupError | RecursionError | TypeError | ValueError)  # the fault is in it
                answer = 400 if request else 500, {"error": f"{type(error).__name__}: {error}"}
            self.reply(*answer)

    def reply(self, status, answer):
        body = json.dumps(answer, default=lambda array: array.tolist()).encode()
        self.send_response(status)
        for header in (("Content-Type", "application/json"), ("Content-Length", str(len(body)))):
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(body)


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--task", choices=TASKS, default=TASKS[0])
parser.add_argument("--model", help="a folder, a converted file or a name (default: the built-in model)")
parser.add_argument("--port", type=int, default=8000, help="0 for any free one")
arguments = parser.parse_args()
options = {} if arguments.task == "question-answering" else {"truncation": True}
pipe = squeezeops.pipeline(arguments.task, arguments.model, **options)
ThreadingHTTPServer.request_queue_size, ThreadingHTTPServer.handle_error = 128, lambda *_: None  # clients may leave
threading.Thread(target=compute, args=(pipe,), daemon=True).start()
with ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler) as server:
    signal.signal(signal.SIGINT, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"{pipe} on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
    all(running.acquire(timeout=10) for _ in range(MOST_REQUESTS))  # answer what is running
