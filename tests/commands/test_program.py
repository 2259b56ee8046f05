"""What all commands share: homes, errors in words, notes that are hidden."""

import logging
import os
import pathlib
import signal

import pytest

from efficientnet_tf.commands import program, quiet

HOME = os.path.expanduser("~")
# What is given, what is meant.
PATHS = [
    ("~/runs", f"{HOME}/runs"),
    ("~", HOME),
    ("folder:~/photos", f"folder:{HOME}/photos"),
    ("records:~/imagenet", f"records:{HOME}/imagenet"),
    ("runs/~old", "runs/~old"),
    ("photos~", "photos~"),
    ("field=~/x", "field=~/x"),
    ("cifar10", "cifar10"),
    ("", ""),
]


@pytest.mark.parametrize("given,meant", PATHS)
def test_a_home_is_expanded_where_a_path_begins(given, meant):
    assert program.expand_home(given) == meant


def _raise_missing():
    pathlib.Path("no such file").read_text()


def _raise_folder():
    pathlib.Path("/").read_text()


ERRORS = [
    (_raise_missing, "No such file or directory: no such file"),
    (_raise_folder, "Is a directory: /"),
]


@pytest.mark.parametrize("fail,message", ERRORS)
def test_errors_of_the_system_have_no_numbers(fail, message, capsys):
    with pytest.raises(SystemExit) as stop:
        try:
            fail()
        except OSError as error:
            program.fail(error, program.FAILURE)
    assert stop.value.code == program.FAILURE
    assert capsys.readouterr().err.endswith(f": {message}\n")


def _interrupt(_):
    program.advise("p.csv has the predictions so far.")
    raise KeyboardInterrupt


def _terminate(_):
    program.advise("p.csv has the predictions so far.")
    program._unwind(signal.SIGTERM, None)


STOPS = [(_interrupt, "Interrupted", 130), (_terminate, "Terminated", 143)]


@pytest.mark.parametrize("main, word, code", STOPS)
def test_what_a_stop_leaves_is_said(main, word, code, capsys, monkeypatch):
    monkeypatch.setattr(program, "_ends", {})
    monkeypatch.setattr(program, "_received", [])
    with pytest.raises(SystemExit) as stop:
        program._guard(main, [])
    assert stop.value.code == code
    expected = f": {word}; p.csv has the predictions so far.\n"
    assert capsys.readouterr().err.endswith(expected)


SAVER = "Sharding callback duration: 79 microseconds"
# Level, file, message: whether people see it.
RECORDS = [
    (logging.INFO, "tensorflow/functional_saver.py", SAVER, False),
    (
        logging.INFO,
        "fingerprinting_utils.py",
        "Writing fingerprint to x",
        False,
    ),
    (
        logging.WARNING,
        "polymorphic_function.py",
        "5 out of the last 5 calls to f triggered tf.function retracing.",
        False,
    ),
    (
        logging.WARNING,
        "signature_serialization.py",
        "input name(s) a-b with unsupported characters which will be renamed",
        False,
    ),
    (logging.WARNING, "tensorflow_datasets/x.py", "A note.", False),
    (logging.ERROR, "tensorflow_datasets/x.py", "A fault.", True),
    (logging.ERROR, "saver.py", SAVER, True),
    (logging.WARNING, "transfer/finetune.py", "Unbalanced.", True),
]


@pytest.mark.parametrize("level,path,message,seen", RECORDS)
def test_notes_for_developers_are_hidden(level, path, message, seen):
    record = logging.LogRecord("x", level, path, 1, message, (), None)
    assert quiet._is_for_users(record) == seen


def test_a_package_that_takes_away_logs_handlers_gives_them_back():
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def load(name):
        root.handlers.clear()
        root.setLevel(logging.CRITICAL)
        raise ImportError(name)

    with pytest.raises(ImportError, match="some"):
        quiet.keeping_handlers(load, "some package")
    assert (root.handlers, root.level) == before
