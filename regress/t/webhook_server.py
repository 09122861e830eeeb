# A web server that takes webhooks, for relay_into_a_webhook: writes a line of JSON
# for each request it answers with success, and answers as the file "orders" says.
import http.server
import json
import sys

port, log, orders = int(sys.argv[1]), sys.argv[2], sys.argv[3]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        status, wanted = 200, {}
        try:
            with open(orders) as f:
                wanted = json.load(f)
        except (OSError, ValueError):
            pass
        if wanted.get("match", "") in body and "status" in wanted:
            status = wanted["status"]
        if status < 300:
            with open(log, "a") as f:
                headers = {k.lower(): v for k, v in self.headers.items()}
                f.write(json.dumps({"headers": headers, "body": body}) + "\n")
        self.send_response(status)
        answer = wanted.get("answer", "").encode("latin-1")
        self.send_header("Content-Length", str(len(answer)))
        if "retry_after" in wanted:
            self.send_header("Retry-After", str(wanted["retry_after"]))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
