"""A server that answers as the Hugging Face hub does, on 127.0.0.1.

python tests/support/hub_server.py runs it alone, and prints its address.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
import urllib.parse

TOKEN = "secret"


class Repository:
    """A repository: its commits, oldest first, as {path: content}."""

    def __init__(self, private=False):
        self.private = private
        self.commits = {hashlib.sha1(b"").hexdigest(): {}}

    @property
    def head(self):
        return list(self.commits)[-1]

    @property
    def files(self):
        return self.commits[self.head]

    def commit(self, files):
        number = hashlib.sha1(f"{self.head} {sorted(files)}".encode())
        self.commits[number.hexdigest()] = files


class Hub(http.server.ThreadingHTTPServer):
    """The hub of one user, anna, whose token is `TOKEN`.

    Attributes:
      repositories: {"USER/NAME": Repository}.
      requests: (method, path) of each, in order.
      broken: (method, part of a path): such requests get no answer.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = {}
        self.blobs = {}
        self.requests = []
        self.broken = None
        self.url = f"http://127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def running():
    """Yields a `Hub` that answers in threads."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _reply(self, status, value=None, headers=()):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in dict(headers).items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status, code, message=""):
        headers = {"X-Error-Code": code, "X-Error-Message": message}
        self._reply(status, {"error": message}, headers)

    def _answer(self):
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        size = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(size)
        self.server.requests.append((self.command, path))
        broken = self.server.broken
        if broken and broken[0] == self.command and broken[1] in path:
            self.close_connection = True
            return
        for method, pattern, answer in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method:
                if "POST" in method and not self._is_anna():
                    return self._refuse(401, "", "Invalid credentials")
                return answer(self, body, *match.groups())
        self._refuse(404, "")

    def _is_anna(self):
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _find(self, name):
        """Returns a repository that may be seen, or None, and refuses it."""
        found = self.server.repositories.get(name)
        if found is not None and (not found.private or self._is_anna()):
            return found
        if self.headers.get("Authorization") and not self._is_anna():
            self._refuse(401, "", "Invalid credentials")
        elif self._is_anna():
            self._refuse(404, "RepoNotFound", "Repository not found")
        else:
            self._refuse(401, "RepoNotFound", "Repository not found")
        return None

    def _validate(self, body):
        text = json.loads(body)["content"]
        assert text.startswith("---\nlibrary_name: keras\n")
        self._reply(200, {"errors": [], "warnings": []})

    def _create(self, body):
        asked = json.loads(body)
        if asked["organization"] != "anna":
            return self._refuse(403, "", "You don't have the rights")
        name = f"anna/{asked['name']}"
        self.server.repositories[name] = Repository(
            asked.get("visibility") == "private"
        )
        self._reply(200, {"url": f"{self.server.url}/{name}"})

    def _info(self, body, name):
        found = self._find(name)
        if found is None:
            return
        siblings = [{"rfilename": path} for path in found.files]
        self._reply(
            200,
            {
                "id": name,
                "sha": found.head,
                "private": found.private,
                "siblings": siblings,
            },
        )

    def _preupload(self, body, name):
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs"
                if file["path"].endswith((".keras", ".onnx", ".tflite"))
                else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        self._reply(200, {"files": files})

    def _batch(self, body, name):
        objects = []
        for wanted in json.loads(body)["objects"]:
            if wanted["oid"] not in self.server.blobs:
                href = f"{self.server.url}/lfs/{wanted['oid']}"
                wanted["actions"] = {"upload": {"href": href}}
            objects.append(wanted)
        self._reply(200, {"transfer": "basic", "objects": objects})

    def _store(self, body, oid):
        assert hashlib.sha256(body).hexdigest() == oid
        self.server.blobs[oid] = body
        self._reply(200, {})

    def _commit(self, body, name):
        if not name.startswith("anna/"):
            return self._refuse(403, "", "You don't have the rights")
        found = self.server.repositories[name]
        files = dict(found.files)
        for line in body.splitlines():
            row = json.loads(line)
            value = row["value"]
            if row["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif row["key"] == "lfsFile":
                files[value["path"]] = self.server.blobs[value["oid"]]
            elif row["key"] == "deletedFile":
                del files[value["path"]]
        found.commit(files)
        url = f"{self.server.url}/{name}/commit/{found.head}"
        answer = {"success": True, "commitOid": found.head, "commitUrl": url}
        self._reply(200, answer)

    def _resolve(self, body, name, revision, path):
        found = self._find(name)
        if found is None:
            return
        commit = found.head if revision == "main" else revision
        if commit not in found.commits:
            return self._refuse(404, "RevisionNotFound")
        files = found.commits[commit]
        if path not in files:
            return self._refuse(404, "EntryNotFound")
        content = files[path]
        tag = hashlib.sha1(content).hexdigest()
        headers = {"X-Repo-Commit": commit, "ETag": f'"{tag}"'}
        if path.endswith((".keras", ".onnx", ".tflite")):
            digest = hashlib.sha256(content).hexdigest()
            headers["X-Linked-ETag"] = f'"{digest}"'
        self._reply(200, content, headers)


_NAME = r"([^/]+/[^/]+)"
_ROUTES = (
    ("POST", r"/api/repos/create", _Handler._create),
    ("POST", r"/api/validate-yaml", _Handler._validate),
    ("GET", rf"/api/models/{_NAME}", _Handler._info),
    ("POST", rf"/api/models/{_NAME}/preupload/main", _Handler._preupload),
    ("POST", rf"/{_NAME}\.git/info/lfs/objects/batch", _Handler._batch),
    ("PUT", r"/lfs/(\w+)", _Handler._store),
    ("POST", rf"/api/models/{_NAME}/commit/main", _Handler._commit),
    ("GET HEAD", rf"/{_NAME}/resolve/([^/]+)/(.+)", _Handler._resolve),
)


if __name__ == "__main__":
    with running() as served:
        print(served.url, flush=True)
        threading.Event().wait()
