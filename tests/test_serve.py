"""examples/serve.py, run as users run it: results, errors, a bounded load, and its end."""

import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from limits import seconds
from pipeline_helpers import MODELS, write_task_model

import squeezeops

SERVER = Path(__file__).parents[1] / "examples" / "serve.py"
TEXTS = ["a gorgeous, witty, seductive movie", "a dull movie", "I loved every minute", "the worst film of the year"]


@contextmanager
def serving(*arguments, program=SERVER):
    """Run the server; yield its process and its port."""
    path = os.pathsep.join(filter(None, [str(Path(squeezeops.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, str(program), "--port", "0", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        # Its default handler, even if the tests run in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield process, int(re.search(r"http://127\.0\.0\.1:(\d+)$", line).group(1))
    finally:
        process.kill()
        process.wait()


def post(port, inputs, connection=None):
    """Send a request; return its status and the answer."""
    connection = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=seconds(60))
    connection.request("POST", "/", json.dumps({"inputs": inputs}))
    response = connection.getresponse()
    return response.status, json.loads(response.read())


@pytest.fixture(scope="module")
def server():
    with serving() as (process, port):
        yield process, port


@pytest.fixture(scope="module")
def classify():
    return squeezeops.pipeline("text-classification", truncation=True)


def test_it_is_short_and_says_how_to_call_it():
    source = SERVER.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 80
    assert "    curl -d" in source.split('"""')[1]
    assert set(re.findall(r"^(?:import|from) (\w+)", source, re.MULTILINE)) - sys.stdlib_module_names == {"squeezeops"}


def test_a_fault_that_is_not_in_the_request_is_answered(tmp_path):
    """As when there is no memory. The server goes on."""
    program = tmp_path / "program.py"
    program.write_text(
        f"""
import runpy, squeezeops
class Pipe:
    def stream(self, texts):
        for text in texts:
            if text == "large":
                raise MemoryError("no memory")
            yield text
squeezeops.pipeline = lambda *arguments, **options: Pipe()
runpy.run_path({str(SERVER)!r}, run_name="__main__")
"""
    )
    with serving(program=program) as (_, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds(60))
        assert post(port, ["large"], connection) == (500, {"error": "MemoryError: no memory"})
        assert post(port, ["small"], connection) == (200, {"results": ["small"]})


def test_waiting_requests_are_one_batch_and_packets_leave_at_once(tmp_path):
    """While the first request is computed, the others arrive. An answer says which texts were in its batch."""
    program = tmp_path / "program.py"
    program.write_text(
        f"""
import queue, runpy, socket, time, squeezeops
from http.server import BaseHTTPRequestHandler

class Queue(queue.SimpleQueue):
    def __init__(self):
        Queue.jobs = self
queue.SimpleQueue = Queue

class Pipe:
    seen = 0
    def stream(self, texts):
        Pipe.seen += len(texts)
        while Pipe.seen + Queue.jobs.qsize() < 8:
            time.sleep(0.01)
        for text in texts:
            yield texts

end_headers = BaseHTTPRequestHandler.end_headers
def with_option(self):
    self.send_header("No-Delay", str(self.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
    end_headers(self)
BaseHTTPRequestHandler.end_headers = with_option
squeezeops.pipeline = lambda *arguments, **options: Pipe()
runpy.run_path({str(SERVER)!r}, run_name="__main__")
"""
    )
    with serving(program=program) as (_, port):
        clients = [http.client.HTTPConnection("127.0.0.1", port, timeout=seconds(60)) for _ in range(8)]
        for text, client in enumerate(clients):
            client.request("POST", "/", json.dumps({"inputs": str(text)}))
        answers = [client.getresponse() for client in clients]
        assert [answer.getheader("No-Delay") for answer in answers] == ["1"] * 8
        batches = {tuple(json.loads(answer.read())["results"]) for answer in answers}
        assert len(batches) <= 2 and sorted(sum(batches, ())) == list("01234567")


def test_results(server, classify):
    _, port = server
    assert post(port, TEXTS) == (200, {"results": classify(TEXTS)})
    assert post(port, TEXTS[0]) == (200, {"results": classify([TEXTS[0]])[0]})
    assert post(port, []) == (200, {"results": []})
    assert post(port, [{"text": "a", "text_pair": "b"}]) == (200, {"results": classify([("a", "b")])})


@pytest.mark.parametrize("task", [task for task in MODELS if task != "text-classification"])
def test_tasks(tmp_path, task):
    folder, inputs = write_task_model(tmp_path / "model", task), MODELS[task][1]
    expected = list(squeezeops.pipeline(task, folder).stream(inputs[:1]))
    if task == "feature-extraction":
        expected = [vector.tolist() for vector in expected]
    with serving("--task", task, "--model", folder) as (_, port):
        assert post(port, inputs[:1]) == (200, {"results": expected})


BAD = {
    "blank": (json.dumps({"inputs": ["a", " "]}), 400, "TextError: text-classification: text 1: expected a non-empty"),
    "number": (json.dumps({"inputs": 3}), 400, "TypeError: text-classification: text 0: expected a str, got int"),
    "no inputs": (json.dumps({"texts": "a"}), 400, "KeyError: 'inputs'"),
    "a list": ("[1]", 400, "TypeError: "),
    "not JSON": ("{", 400, "JSONDecodeError: "),
    "deep": ("[" * 200_000, 400, "RecursionError: "),
    "not UTF-8": (b'{"inputs": "\xff"}', 400, "UnicodeDecodeError: "),
    "large": (b"x" * ((1 << 20) + 1), 413, "expected a Content-Length of at most 1048576"),
}


@pytest.mark.parametrize(("body", "status", "message"), BAD.values(), ids=BAD)
def test_errors(server, classify, body, status, message):
    process, port = server
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds(60))
    try:
        connection.request("POST", "/", body)
    except ConnectionError:
        assert status == 413  # the server has answered and closed before all of it was sent
    response = connection.getresponse()
    answer = json.loads(response.read())
    assert response.status == status and answer["error"].startswith(message), answer
    assert post(port, TEXTS[0])[0] == 200 and process.poll() is None


def test_requests_without_a_length_and_clients_that_leave(server):
    process, port = server
    for request, status in (
        (b"POST / HTTP/1.1\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\n\r\n", b"501"),
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=seconds(60)) as client:
            client.sendall(request)
            assert client.recv(100).split()[1] == status
    for request in (b"", b"POST", b'POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"inputs"'):
        with socket.create_connection(("127.0.0.1", port), timeout=seconds(60)) as client:
            client.sendall(request)
    with socket.create_connection(("127.0.0.1", port), timeout=seconds(60)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
    assert post(port, TEXTS[0])[0] == 200 and process.poll() is None
    os.set_blocking(process.stderr.fileno(), False)
    assert not process.stderr.buffer.read()  # None: nothing yet


def test_a_load(classify):
    """Eight clients at once, each with its own texts and some errors: every answer is that of its own request."""
    clients, requests, good = 8, 25, []

    def run(client):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds(60))
        for i in range(requests):
            text = TEXTS[(client + i) % len(TEXTS)]
            bad = (client + i) % 7 == 0
            status, answer = post(port, [text, ""] if bad else [text, text], connection)
            good.append(status == 400 if bad else answer == {"results": [expected[text]] * 2})

    with serving() as (_, port):
        expected = dict(zip(TEXTS, classify(TEXTS), strict=True))
        threads = [threading.Thread(target=run, args=(client,)) for client in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds(60))
    assert good == [True] * (clients * requests)


def test_ctrl_c_answers_what_is_running(classify, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        f"""
import runpy, time, squeezeops
from squeezeops.pipelines.base import Pipeline
from socketserver import ThreadingMixIn
begin = ThreadingMixIn.process_request
def begin_slowly(*arguments):
    begin(*arguments)
    time.sleep(1)  # the signal comes first
ThreadingMixIn.process_request = begin_slowly
stream = Pipeline.stream
def says_so(self, texts):
    if len(texts) > 1:
        print("running", flush=True)
    return stream(self, texts)
Pipeline.stream = says_so
runpy.run_path({str(SERVER)!r}, run_name="__main__")
"""
    )
    with serving(program=program) as (process, port):
        texts, answers = TEXTS * 200, []
        idle = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds(60))
        post(port, TEXTS[0], idle)  # stays open
        thread = threading.Thread(target=lambda: answers.append(post(port, texts)))
        thread.start()
        limit = threading.Timer(seconds(60), process.kill)
        limit.start()
        assert process.stdout.readline() == "running\n"
        limit.cancel()
        process.send_signal(signal.SIGINT)
        thread.join(seconds(60))
        assert process.wait(seconds(60)) == 0
        assert answers and answers[0][0] == 200 and answers[0][1]["results"] == classify(texts)
        assert "Traceback" not in process.stderr.read()
        idle.close()
