"""Weights on the Hugging Face hub: hf://timm/NAME, hf://USER/REPO.

Plain downloads: the hub's own library would bring a dozen packages for two
addresses. A repository holds either timm's `config.json` and
`model.safetensors`, or a network of ours and, if it has other classes than
ImageNet's, its `classifier.json`.
"""

import http
import os
import re
import typing
import urllib.error
import urllib.parse
import urllib.request

from absl import logging

from efficientnet_tf.utils import documents, files, run_folder, untrusted
from efficientnet_tf.weights import downloads, http_files

PREFIX = "hf://"
ENDPOINT = "https://huggingface.co"
ENDPOINT_VARIABLE = "HF_ENDPOINT"
TOKEN_VARIABLE = "HF_TOKEN"
COMMIT_HEADER = "X-Repo-Commit"

TIMM_FILE = "model.safetensors"
OWN_FILES = ("model.weights.h5", "model.keras")
CONFIG_FILE = "config.json"

_NAME = re.compile(r"hf://([\w-][\w.-]*/[\w-][\w.-]*)(?:@(\w[\w.-]*))?")


def is_name(weights: str | os.PathLike) -> bool:
    """Whether weights are given by a name on the hub."""
    return str(weights).startswith(PREFIX)


def check_name(name: str) -> None:
    """Raises ValueError unless a name has the form hf://USER/REPO[@REVISION]."""
    _parse(name)


def check_repository(name: str) -> None:
    """Raises ValueError unless a repository has the form USER/NAME."""
    match = _NAME.fullmatch(f"{PREFIX}{name}")
    if not match or match[2]:
        raise ValueError(f"{name!r} must be USER/NAME, e.g. anna/flowers.")


def fetch_classifier(name: str) -> str:
    """Returns the path of a repository's classifier in the cache.

    Its network and its classes are of one commit. The hub is asked for the
    newest one of the revision each time; if it cannot be reached, the last one
    that was asked for is used, with a warning.

    Args:
      name: "hf://USER/REPO" or "hf://USER/REPO@REVISION".

    Returns:
      The path of the network, beside which its settings are, and what tells
      unknown images, if it has that.

    Raises:
      ValueError, PermissionError, OSError: see `fetch`.
    """
    pinned = _pin(name)
    settings = _fetch_file(pinned, run_folder.SETTINGS_FILE)
    # The network last: where it is in the cache, all the rest is.
    url = _url(pinned, run_folder.MODEL_FILE)
    if settings and not os.path.exists(downloads.cached_path(url)):
        _fetch_file(pinned, run_folder.UNKNOWN_FILE)  # Some have none.
    model = settings and _fetch_file(pinned, run_folder.MODEL_FILE)
    if model is None:
        raise ValueError(
            f"{name}: there is no such repository, or it holds no "
            f"{run_folder.MODEL_FILE} and {run_folder.SETTINGS_FILE}, as "
            "`efficientnet share` writes them; weights alone go with --model "
            "and --weights."
        )
    return model


def _pin(name):
    """Returns a name whose revision is the commit that it stands for now."""
    repository, _ = _parse(name)
    url = _url(name, run_folder.SETTINGS_FILE)
    note = f"{downloads.cached_path(url)}.commit"
    try:
        headers = _ask(name, url)
    except PermissionError:
        raise
    except OSError as error:
        if not os.path.exists(note):
            raise
        logging.warning("%s The copy in the cache is used.", error)
        with open(note) as file:
            commit = file.read(100).strip()
    else:
        commit = (headers or {}).get(COMMIT_HEADER, "")
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        return name  # A mirror that does not tell.
    os.makedirs(os.path.dirname(note), exist_ok=True)
    files.write_text(note, commit)
    return f"{PREFIX}{repository}@{commit}"


def fetch(name: str) -> str:
    """Returns the path of a repository's weights in the cache.

    What stands in the cache is used as it is; the files that belong to the
    weights stand beside them. $HF_ENDPOINT replaces the hub's address, and
    $HF_TOKEN, or the token of `hf auth login`, is sent to it.

    Args:
      name: "hf://USER/REPO" or "hf://USER/REPO@REVISION".

    Raises:
      ValueError: a malformed name, there is no such repository or revision, it
        holds no weights that we read, or a file is not the hub's.
      PermissionError: the repository is private or gated.
      OSError: the download failed.
    """
    for file in (TIMM_FILE, *OWN_FILES):
        if os.path.exists(downloads.cached_path(_url(name, file))):
            return _fetch_file(name, file)
    # The weights last: where they are in the cache, all the rest is.
    config = _fetch_file(name, CONFIG_FILE)
    if config is not None and _is_timm(config):
        files = [TIMM_FILE]
    else:
        _fetch_file(name, run_folder.SETTINGS_FILE)
        files = list(OWN_FILES)
    for file in files:
        path = _fetch_file(name, file)
        if path is not None:
            return path
    raise ValueError(
        f"{name}: there is no such repository, or it holds no "
        f"{' or '.join(files)}"
        + ("." if TIMM_FILE in files else f", nor timm's {CONFIG_FILE}.")
    )


def _parse(name):
    """Returns (repository, revision)."""
    match = _NAME.fullmatch(name)
    if not match:
        raise ValueError(
            f"{name!r} must be hf://USER/REPO or hf://USER/REPO@REVISION, e.g. "
            "hf://timm/tf_efficientnet_b0.ns_jft_in1k."
        )
    return match[1], match[2] or "main"


def _fetch_file(name, file):
    """Returns the path of a file in the cache, or None if there is none."""
    url = _url(name, file)
    if os.path.exists(downloads.cached_path(url)):
        return downloads.fetch(url)
    headers = _ask(name, url)
    if headers is None:
        return None
    # Of large files the hub states the SHA-256.
    tag = headers.get("X-Linked-ETag", "").strip('"')
    known = re.fullmatch(r"[0-9a-f]{64}", tag)
    digest = f"sha256:{tag}" if known else None
    path = downloads.fetch(url, digest=digest, token=_token())
    if digest is not None:
        downloads.record(path, digest)
    elif file.endswith(".json"):
        with downloads.confirmed(path):
            _check_json(name, path)
    return path


def _check_json(name, path):
    """Raises ValueError unless a file is JSON, not a page of a proxy."""
    try:
        documents.read_object(path, {})
    except untrusted.DamagedError:
        raise ValueError(
            f"{name}: {os.path.basename(path)} is not JSON."
        ) from None


def _url(name, file):
    repository, revision = _parse(name)
    return f"{_endpoint()}/{repository}/resolve/{revision}/{file}"


def endpoint() -> str:
    """Returns the hub's own address, or that of $HF_ENDPOINT."""
    return (os.environ.get(ENDPOINT_VARIABLE) or ENDPOINT).rstrip("/")


def _endpoint():
    # Whoever mirrors all downloads mirrors the hub as well.
    mirror = os.environ.get(downloads.MIRROR_VARIABLE)
    return mirror.rstrip("/") if mirror else endpoint()


def _token():
    if os.environ.get(downloads.MIRROR_VARIABLE):
        return None  # It is the hub's, not the mirror's.
    # A line end, as `$(cat FILE)` of some shells leaves, may not be sent.
    return os.environ.get(TOKEN_VARIABLE, "").strip() or _saved_token()


def _saved_token():
    """Returns the token that `hf auth login` has saved, or None."""
    home = os.environ.get("HF_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"
    )
    path = os.environ.get("HF_TOKEN_PATH") or os.path.join(home, "token")
    try:
        with untrusted.open_file(os.path.expanduser(path)) as file:
            return file.read(1000).decode(errors="replace").strip() or None
    except OSError:
        return None


def _is_timm(path):
    try:
        config = documents.read_object(path, {})
    except untrusted.DamagedError:
        return False
    return "architecture" in config


class _OnTheHub(http_files.Redirects):
    """Follows redirects on the hub, but not to where it stores large files.

    Only the hub's own answer states the hash.
    """

    def redirect_request(self, request, *rest):
        redirected = super().redirect_request(request, *rest)
        if redirected is None or redirected.host != request.host:
            return None
        redirected.method = request.get_method()
        return redirected


def _ask(name, url):
    """Returns the headers of a file, or None if the repository lacks it."""
    request = urllib.request.Request(url, method="HEAD")
    token = _token()
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    opener = urllib.request.build_opener(_OnTheHub)
    try:
        with opener.open(request, timeout=http_files.TIMEOUT_SECONDS) as answer:
            return answer.headers
    except urllib.error.HTTPError as error:
        error.close()
        if 300 <= error.code < 400:
            return error.headers
        if _is_missing_file(error):
            return None
        _refuse(name, url, error)
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise OSError(
            f"{name}: cannot reach {_endpoint()} ({reason})."
        ) from error


def _is_missing_file(error):
    return (
        error.code == http.HTTPStatus.NOT_FOUND
        and error.headers.get("X-Error-Code", "EntryNotFound")
        == "EntryNotFound"
    )


def _refuse(name, url, error) -> typing.NoReturn:
    code = error.headers.get("X-Error-Code", "")
    page = f"{_endpoint()}/{_parse(name)[0]}"
    token = _token()
    if code == "GatedRepo" or error.code == http.HTTPStatus.FORBIDDEN:
        raise PermissionError(
            f"{name} is gated: accept its terms at {page}, and set "
            f"{TOKEN_VARIABLE} to your token."
        )
    if error.code == http.HTTPStatus.UNAUTHORIZED:
        # The hub does not tell strangers which of the two it is.
        advice = f"the token in {TOKEN_VARIABLE} may not read it"
        if not token:
            advice = f"set {TOKEN_VARIABLE} if you may read it"
        raise PermissionError(
            f"{name}: there is no such repository, or it is private (HTTP "
            f"401); check the name, {advice}."
        )
    if code == "RevisionNotFound":
        raise ValueError(f"{name}: the repository has no such revision.")
    if error.code == http.HTTPStatus.NOT_FOUND:
        raise ValueError(f"{name}: there is no such repository; see {page}.")
    raise OSError(f"{name}: {url} answers HTTP {error.code}.")
