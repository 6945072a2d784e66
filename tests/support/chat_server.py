"""A small OpenAI-compatible server over real HTTP: it says what it sees, and misbehaves as it is told.

    chat_server.py PORT FOLDER [SCRIPT]

PORT 0 is any that is free. FOLDER gets `requests.jsonl`, a line per request, and `<pid>.pid`, which holds the port of
a server that listens. SCRIPT is JSON:

    statuses      what the first requests are answered with instead: [429, 503]
    retry_after   the header that goes with these
    dies_at       the request at which it dies, once for all servers on this folder
    never_ready   the health check fails
    slow_s        an answer takes up to so long, by chance
    holds_from    from this request on none is answered, for as long as it lives
    says          the text of every answer; else a digest of the pictures and the words
    wrong_id      answers are said to be to another request
"""

import base64
import hashlib
import itertools
import json
import os
import random
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT, FOLDER = int(sys.argv[1]), Path(sys.argv[2])
SCRIPT = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
COUNT = itertools.count(1)
LOCK = threading.Lock()


def seen(content):
    """What tells the pictures and the words of a request from all others."""
    digest = hashlib.sha256()
    for part in content:
        url = part.get("image_url", {}).get("url", "").removeprefix("data:image/jpeg;base64,")
        digest.update(base64.b64decode(url) if url else part["text"].encode())
    return digest.hexdigest()


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # with five, who asks at once is kept waiting for seconds


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.reply(503 if SCRIPT.get("never_ready") or self.path != "/health" else 200, {})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with LOCK:
            number = next(COUNT)
            key, named = self.headers.get("Authorization"), self.headers.get("X-Request-Id")
            told = {"path": self.path, "key": key, "id": named, "model": body["model"], "at": time.time()}
            with (FOLDER / "requests.jsonl").open("a") as file:
                file.write(json.dumps(told) + "\n")
        died = FOLDER / "died"
        if number == SCRIPT.get("dies_at") and not died.exists():
            died.touch()
            os._exit(3)
        if number >= SCRIPT.get("holds_from", number + 1):
            threading.Event().wait()
        time.sleep(random.random() * SCRIPT.get("slow_s", 0))
        wanted = os.environ.get("VLLM_API_KEY")
        if wanted and key != f"Bearer {wanted}":
            self.reply(401, {"error": {"message": f"wrong key {key}"}})
            return
        statuses = SCRIPT.get("statuses", [])
        if number <= len(statuses) and statuses[number - 1] != 200:
            self.reply(statuses[number - 1], {"error": {"message": f"as told, with {key}"}})
            return
        text = SCRIPT.get("says") or f"clip {seen(body['messages'][0]['content'])}"
        of = "hpcq-" + "f" * 32 if SCRIPT.get("wrong_id") else named
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        self.reply(200, {"id": f"chatcmpl-{of}", "choices": [choice], "usage": usage})

    def reply(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status != 200 and "retry_after" in SCRIPT:
            self.send_header("Retry-After", SCRIPT["retry_after"])
        if 300 <= status < 400:
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.end_headers()
        self.wfile.write(data)


if __name__ == "__main__":
    print("loading weights", flush=True)
    print("my key is", os.environ.get("VLLM_API_KEY"), flush=True)
    server = Server(("127.0.0.1", PORT), Handler)
    (FOLDER / f"{os.getpid()}.pid").write_text(f"{server.server_port}\n")
    server.serve_forever()
