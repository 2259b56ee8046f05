"""The command `efficientnet`: lists the commands and runs one."""

import ast
import difflib
import importlib.util
import pathlib
import sys

import efficientnet_tf

PROGRAM = "efficientnet"
USAGE = 2

# In the order of the list on the screen.
COMMANDS = (
    "finetune",
    "find-lr",
    "predict",
    "explain",
    "neighbors",
    "embed",
    "evaluate",
    "export",
    "share",
    "demo",
    "serve",
    "convert",
    "prepare",
    "grid",
    "report",
    "compare",
    "choose",
    "measure",
    "train",
    "launch",
    "data-service",
    "search",
    "study",
    "architect",
    "explore",
)
HELP = ("help", "--help", "-help", "-h", "--helpshort", "--helpfull")


def main() -> None:
    """Runs the command that the arguments name, or lists all commands."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["help"] and len(arguments) > 1:
        arguments = [arguments[1], "--help"]
    if not arguments or arguments[0] in HELP:
        print(_list_commands())
    elif arguments[0] == "--version":
        print(PROGRAM, efficientnet_tf.__version__)
    elif arguments[0] in COMMANDS:
        name, *rest = arguments
        run(name, [f"{PROGRAM} {name}", *rest])
    else:
        print(f"{PROGRAM}: {_explain(arguments[0])}", file=sys.stderr)
        sys.exit(USAGE)


def run(name: str, argv: list[str]) -> None:
    """Runs a command as the main program.

    Not by `runpy`, which puts the file's path into `argv[0]`, and absl shows
    that as the program's name.

    Args:
      name: one of `COMMANDS`.
      argv: the program's name for messages, and the arguments.
    """
    spec = importlib.util.find_spec(_module_name(name))
    module = importlib.util.module_from_spec(spec)
    # absl's --helpshort shows the flags of the module with this name.
    module.__name__ = "__main__"
    sys.modules["__main__"] = module
    sys.argv = argv
    exec(spec.loader.get_code(spec.name), vars(module))


def _module_name(name):
    return f"efficientnet_tf.commands.{name.replace('-', '_')}"


def _list_commands():
    """Returns the commands with a line each, without importing them."""
    folder = pathlib.Path(__file__).parent
    width = max(map(len, COMMANDS))
    lines = [
        f"usage: {PROGRAM} COMMAND [--flag=value ...]",
        "",
        *(f"  {name:{width}}  {_summarize(folder, name)}" for name in COMMANDS),
        "",
        f"{PROGRAM} COMMAND --help   shows the flags of a command",
        f"{PROGRAM} --version        shows the version",
    ]
    return "\n".join(lines)


def _summarize(folder, name):
    """Returns the first line of a command's docstring."""
    path = folder / f"{name.replace('-', '_')}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return ast.get_docstring(tree).splitlines()[0]


def _explain(argument):
    """Returns a message for a first argument that is not a command."""
    if argument.startswith("-"):
        return (
            f"Unknown flag {argument!r}; flags come after the command, as in "
            f"{PROGRAM} {COMMANDS[0]} --help."
        )
    near = difflib.get_close_matches(argument, COMMANDS, n=1)
    hint = f"did you mean {near[0]!r}? Choose" if near else "choose"
    return f"Unknown command {argument!r}; {hint} one of {', '.join(COMMANDS)}."


if __name__ == "__main__":
    main()
