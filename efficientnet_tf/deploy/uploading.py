"""A folder to the Hugging Face hub, in one commit, by the hub's own library."""

import contextlib
import dataclasses
import http
import pathlib
import sys
import typing
from collections.abc import Iterator, Sequence

from absl import logging

from efficientnet_tf.deploy import card as card_lib, repository
from efficientnet_tf.utils import extras, files, run_folder, untrusted
from efficientnet_tf.weights import hub

if typing.TYPE_CHECKING:
    import huggingface_hub

# What the hub writes itself, or people beside a model.
_THEIRS = (
    ".gitattributes",
    card_lib.FILE,
    "LICENSE",
    "LICENSE.md",
    ".gitignore",
)


@dataclasses.dataclass(frozen=True)
class Shared:
    """What was uploaded: where it is to be seen, and by which commit."""

    url: str
    commit: str
    private: bool


def check(name: str) -> str:
    """Returns the token, if one may be used; called before any work.

    Args:
      name: USER/NAME.

    Raises:
      ValueError: the name has another form.
      ModuleNotFoundError: the hub's library is not installed.
      PermissionError: there is no token.
    """
    hub.check_repository(name)
    extras.require("Uploads to the hub", "huggingface_hub")
    import huggingface_hub

    token = huggingface_hub.get_token()
    if not token:
        raise PermissionError(
            "There is no token of the Hugging Face hub: run `hf auth login`, "
            f"or set {hub.TOKEN_VARIABLE}; --dry_run needs none."
        )
    return token


def upload(
    folder: pathlib.Path, name: str, token: str, *, private: bool = False
) -> Shared:
    """Uploads a folder of `repository.write`.

    Model and classes come in one commit, so that nobody ever loads one without
    the other; files of an earlier upload that are no longer there go with it.

    Args:
      folder: what to upload.
      name: USER/NAME of a repository, which is made if there is none.
      token: of `check`.
      private: of a new repository.

    Raises:
      PermissionError: the hub does not take the token, or not for this name.
      FileExistsError: the repository holds something else, or is public and
        was to be private.
      OSError: the hub cannot be reached, or the upload broke off.
    """
    import huggingface_hub
    from huggingface_hub import utils

    if not sys.stderr.isatty():  # A bar for each file would fill a log.
        utils.disable_progress_bars()
    api = huggingface_hub.HfApi(endpoint=hub.endpoint(), token=token)
    with _explained(name):
        there = _find(api, name)
        if there is None:
            api.create_repo(name, private=private)
            there = api.model_info(name)
        _check(there, name, private)
        commit = api.create_commit(
            name,
            _plan(api, folder, there),
            commit_message="Share by efficientnet_tf",
        )
    return Shared(f"{hub.endpoint()}/{name}", commit.oid, bool(there.private))


def _find(api, name):
    """Returns what the hub knows of a repository; None: there is none."""
    from huggingface_hub import errors

    try:
        return api.model_info(name)
    except errors.RepositoryNotFoundError as error:
        # A bad token is answered alike.
        if error.response.status_code == http.HTTPStatus.NOT_FOUND:
            return None
        raise


def _check(there, name, private):
    """Raises FileExistsError unless a repository is one to share in."""
    found = _names(there)
    others = [n for n in found if n not in _THEIRS]
    if others and run_folder.SETTINGS_FILE not in found:
        raise FileExistsError(
            f"{name} holds {others[0]}, which is no shared classifier; choose "
            "another name."
        )
    if private and not there.private:
        raise FileExistsError(
            f"{name} is there and public; --private is for a new one. Change "
            "it in its settings on the hub, or choose another name."
        )


def _names(there) -> Sequence[str]:
    return [file.rfilename for file in there.siblings or ()]


def _plan(api, folder, there):
    """Returns the operations of the commit."""
    import huggingface_hub

    wanted = [name for name, _ in repository.list_files(folder)]
    if card_lib.FILE in _names(there) and _is_edited(api, there.id):
        logging.warning(
            "%s of %s was written by hand and stays as it is.",
            card_lib.FILE,
            there.id,
        )
        wanted.remove(card_lib.FILE)
    ours = (*repository.OWN_FILES, f"{repository.EXPORTS}/")
    gone = [
        name
        for name in _names(there)
        if name.startswith(ours)
        and name not in wanted
        and name != card_lib.FILE
    ]
    return [
        *(huggingface_hub.CommitOperationDelete(name) for name in gone),
        *(
            huggingface_hub.CommitOperationAdd(name, folder / name)
            for name in wanted
        ),
    ]


def _is_edited(api: "huggingface_hub.HfApi", name: str) -> bool:
    """Whether a repository's card has text of somebody's own."""
    path = api.hf_hub_download(name, card_lib.FILE)
    text = files.read_bytes(path).decode(errors="replace")
    # Of a repository that was made on the hub's page, it has a head alone.
    body = text.split("---", 2)[2] if text.startswith("---") else text
    return bool(body.strip()) and not card_lib.is_own(text)


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turns what the hub's library raises into a line."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HfHubHTTPError as error:
        raise _word(name, error) from error
    except errors.HTTPError as error:  # It got no answer.
        raise OSError(_cut(name, error)) from error
    except RuntimeError as error:
        cause = error.__cause__ or error
        if isinstance(cause, errors.HfHubHTTPError):
            raise _word(name, cause) from error
        raise OSError(_cut(name, cause)) from error


def _word(name, error):
    code = error.response.status_code
    said = untrusted.shorten(error.server_message or "").rstrip(".")
    said = f": {said}" if said else ""
    if code == http.HTTPStatus.UNAUTHORIZED:
        return PermissionError(
            f"The hub does not take your token (HTTP 401){said}; run `hf auth "
            "login` again."
        )
    if code == http.HTTPStatus.FORBIDDEN:
        return PermissionError(
            f"{name}: your token may not write there (HTTP 403){said}; USER "
            "must be you or an organization of yours, and the token needs the "
            "right to write."
        )
    return OSError(f"{name}: the hub answers HTTP {code}{said}.")


def _cut(name, error):
    return (
        f"{name}: no upload to {hub.endpoint()} ({untrusted.explain(error)}); "
        "nothing has changed there. Run the same command again."
    )
