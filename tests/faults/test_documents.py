"""Results and choices from strangers; exit codes of what is found."""

import dataclasses
import json

import pytest

from efficientnet_tf.commands import program
from efficientnet_tf.utils import documents, untrusted
from efficientnet_tf.weights import families, hub
from transfer.choice import auto
from transfer.config import recipes
from transfer.report import results

ROW = {"task": "t", "model": "m", "recipe": "r", "metric": "top1", "score": 1}
ROWS = ["[]", "3", "null", '"x"', "{}", "[" * 5000]
ROWS += [json.dumps({**ROW, "seconds": 10**400}), '{"score": NaN}']
ROWS += [json.dumps({**ROW, "score": value}) for value in ("1", -1, 2, [])]


@pytest.mark.parametrize("text", ROWS)
def test_a_row_of_results_is_refused_with_its_number(text, tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text(f"{json.dumps(ROW)}\n{text}\n")
    with pytest.raises(untrusted.DamagedError, match="results.jsonl, row 2"):
        results.read_results([path])


CONFIG = dataclasses.asdict(recipes.FinetuneConfig())
CHOICES = [[], 3, None, {}, {"kept": 1, "why": "", "config": {}}]
CHOICES += [
    {"kept": "linear", "why": "", "config": config}
    for config in ([], {"epochs": "x"}, {"epochs": -1}, {"one_too_many": 1})
]


@pytest.mark.parametrize("value", CHOICES)
def test_a_choice_is_refused_with(value, tmp_path):
    path = tmp_path / auto.CHOICE_FILE
    path.write_text(json.dumps(value))
    with pytest.raises(untrusted.DamagedError, match="choice.json"):
        auto.read_choice(path)


def test_a_sound_choice_is_read(tmp_path):
    path = tmp_path / auto.CHOICE_FILE
    found = {"kept": "linear", "why": "", "config": CONFIG}
    path.write_text(json.dumps(found))
    assert auto.read_choice(path) == (
        recipes.FinetuneConfig(),
        {"kept": "linear", "why": ""},
    )


@pytest.mark.parametrize("hits", [3, None, [1], [1, 2], ["1", 0], [[], 1]])
def test_hits_are_refused_with(hits, tmp_path):
    path = tmp_path / auto.FOLD_FILE
    path.write_text(json.dumps({"hits": hits}))
    with pytest.raises(untrusted.DamagedError, match="fold.json"):
        auto._read_hits(path, 2)


@pytest.mark.parametrize("text", ["[]", "3", "{", "[" * 5000, '{"a": 1}'])
def test_a_config_of_something_else_is_none_of_timms(text, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(text)
    assert families._read_config(tmp_path / "x.pth") is None
    assert not hub._is_timm(path)


@pytest.mark.parametrize("field", ["pretrained_cfg", "model_args"])
def test_a_config_of_timm_with_nonsense_is_refused(field, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"architecture": "x", field: [1]}))
    with pytest.raises(untrusted.DamagedError, match=f"{field} must be"):
        families._read_config(tmp_path / "x.pth")


def test_a_document_may_have_a_byte_order_mark():
    assert documents.parse(b'\xef\xbb\xbf{"a": 1}', "x") == {"a": 1}


@pytest.mark.parametrize(
    "error,code",
    [(untrusted.DamagedError("x is damaged"), 1), (ValueError("unknown"), 2)],
)
def test_a_damaged_file_is_a_failure_and_no_wrong_usage(error, code, capsys):
    def main(argv):
        raise error

    with pytest.raises(SystemExit) as stop:
        program._guard(main, [])
    assert stop.value.code == code
    assert capsys.readouterr().err.count("\n") == 1


def test_what_moves_the_cursor_of_a_terminal_is_shown_instead(capsys):
    program.print_error("a layer \x1b[2J\udcff of B")
    assert "a layer \\x1b[2J\\udcff of B" in capsys.readouterr().err


def test_our_own_mistakes_are_not_called_damage():
    with pytest.raises(NameError), untrusted.reading("x"):
        raise NameError("ours")
