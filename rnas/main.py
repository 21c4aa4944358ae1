"""The command line: parse, dispatch, and turn user mistakes into one clear line."""

import argparse
from collections.abc import Sequence
import json
import os
from pathlib import Path
import shlex
import sys

UNTIL = {"run": "report", "search": "derive", "train": "finetune", "evaluate": "evaluate"}
HELP = {
    "run": "all stages: teacher, search, derive, train, baselines, evaluate, report",
    "search": "up to the derived architecture",
    "train": "up to the trained student",
    "evaluate": "up to the attacks on the test set",
}


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Returns the arguments and the `--config.key=value` overrides among them."""
    parser = argparse.ArgumentParser(
        prog="rnas", description="Searches image classifiers that are small and hard to fool."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    def command(name, description, *, config=True, workdir=True, among=commands):
        made = among.add_parser(
            name,
            help=description,
            description=description,
            epilog="Any configuration key can be changed with --config.key=value.",
        )
        if config:
            made.add_argument("--config", required=True, metavar="FILE[:ARG]", help="configuration file")
        if workdir:
            made.add_argument(
                "--workdir", metavar="DIR", help="work directory; default: runs/<folder>/<name> of the config"
            )
        return made

    words = "train, import or check a teacher, or cache what it says"
    actions = command("teacher", words, config=False, workdir=False).add_subparsers(
        dest="action", required=True, metavar="action"
    )
    train = command("train", "train the teacher of a configuration", among=actions)
    cache = command("cache", "make the teacher cache of a configuration (teacher.cache.views)", among=actions)
    if argv[:1] == ["teacher"]:  # imported only then, so that other commands answer --help at once
        from rnas.cli.teacher import add_actions

        add_actions(actions)
    for made in (*(command(name, description) for name, description in HELP.items()), train, cache):
        made.add_argument("--distributed", action="store_true", help="one process of several (Slurm, TPU pod)")
    describe = command("describe", "parameters, MACs and taps of supernet, teacher and derived network")
    describe.add_argument("--architecture", metavar="FILE", help="an architecture.json; default: the work directory's")
    describe.add_argument("--json", action="store_true", help="print one JSON object")
    report = command("report", "write report.html anew from what a work directory holds", config=False)
    report.add_argument(
        "--beside", action="append", default=[], metavar="DIR", help="another run, for one table; may be repeated"
    )
    status = command("status", "what is done in a work directory", config=False)
    status.add_argument("--json", action="store_true", help="print one JSON object")

    words = "questions to the table of NAS-RobBench-201, and searches on it"
    tabular = commands.add_parser("tabular", help=words, description=words)
    if argv[:1] == ["tabular"]:  # loads NumPy, which nothing else here needs
        from rnas.cli.tabular import add_arguments

        add_arguments(tabular)
    words = "tangent kernels and other training-free scores of cells, and how they rank beside the table"
    ntk = commands.add_parser("ntk", help=words, description=words)
    if argv[:1] == ["ntk"]:
        from rnas.cli.ntk import add_arguments

        add_arguments(ntk)
    _add_attack(command("attack", "AutoAttack and others on a trained model, with sanity checks", config=False))

    arguments, rest = parser.parse_known_args(argv)
    overrides = [argument for argument in rest if argument.startswith("--config.")]
    if unknown := [argument for argument in rest if not argument.startswith("--config.")]:
        parser.error(f"unknown argument {unknown[0]!r}; configuration keys are written --config.key=value")
    return arguments, overrides


def _add_attack(attack: argparse.ArgumentParser) -> None:
    add = attack.add_argument
    add("--teacher", metavar="DIR", help="a teacher directory, in place of --workdir")
    add("--model", default="student", help="of the run: student, teacher, baseline_…; default: student")
    add(
        "--attack",
        default="auto_attack",
        metavar="NAMES",
        help="auto_attack, or a list such as pgd_100*5,apgd_ce,apgd_dlr,apgd_t,fab_t,fab,square,fgsm,mim_20,cw_30; "
        "the names are those of rnas.attacks.catalogue",
    )
    add("--version", default="standard", choices=["standard", "plus", "rand"], help="of auto_attack")
    add("--norm", default="linf", choices=["linf", "l2", "l1"])
    add("--epsilon", default="8/255", help="radius in pixel units, '8/255' or a number; default: 8/255")
    add("--dataset", help="a TFDS set; default: the one of the run, or of the teacher's card")
    add("--data-dir", metavar="DIR", help="where that set is")
    add("--split", default="test", choices=["test", "validation", "train"])
    add("--count", type=int, metavar="N", help="the first N images; default: all")
    add("--seed", type=int, default=0, help="of every random draw")
    add("--batch-size", type=int, default=128, metavar="N", help="images a batch, at most; halved if memory is short")
    add("--individually", action="store_true", help="every attack on every image, not only on those that still stand")
    add(
        "--transfer",
        action="append",
        default=[],
        metavar="DIR",
        help="also try the images of this finished evaluation of another model; may be repeated",
    )
    add("--output", metavar="DIR", help="default: a folder of its own in WORKDIR/attacks")
    add("--tolerate-failed-checks", action="store_true", help="exit with 0 although a self-check failed")
    add("--distributed", action="store_true", help="one process of several (Slurm, TPU pod)")
    add("--json", action="store_true", help="print attack.json and nothing else")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    arguments, overrides = parse(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from rnas.training.interruption import Interrupted, interruptible

    command = " ".join(["rnas", *map(shlex.quote, argv)])
    try:
        if arguments.command == "tabular":
            from rnas.cli.tabular import run

            return run(arguments, overrides)
        # Imported late, so that --help and what needs no device answer at once.
        from rnas.cli import platform
        from rnas.config.load import load_config

        platform.prepare(distributed=getattr(arguments, "distributed", False))
        if arguments.command == "teacher" and arguments.action in ("import", "check"):
            from rnas.cli.teacher import run

            run(arguments)
            return 0
        if arguments.command == "ntk":
            from rnas.cli.ntk import run

            with interruptible():
                return run(arguments)
        workdir = arguments.workdir
        if arguments.command == "status":
            from rnas.runs.description import status

            return _answer(status(Path(workdir or ".")), arguments.json)
        if arguments.command == "report":
            from rnas.pages import write_report

            print(write_report(Path(workdir or "."), arguments.beside))
            return 0
        if arguments.command == "attack":
            from rnas.cli import attack

            with interruptible():
                summary, code = attack.attack(arguments)
            print(json.dumps(summary.to_json()) if arguments.json else attack.as_text(summary))
            return code
        config = load_config(arguments.config, overrides)
        workdir = Path(workdir) if workdir else _default_workdir(arguments.config)
        if arguments.command == "describe":
            from rnas.runs.description import describe

            return _answer(describe(config, workdir, arguments.architecture), arguments.json)
        from rnas.runs import stages as experiment

        with interruptible():
            if arguments.command == "teacher" and arguments.action == "cache":
                experiment.make_teacher_cache(config, workdir, command=command)
            else:
                until = "teacher" if arguments.command == "teacher" else UNTIL[arguments.command]
                experiment.run(config, workdir, command=command, until=until)
    except Interrupted as interrupted:
        print(f"{interrupted} To go on: {command}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print(f"stopped at once. To go on from the last checkpoint: {command}", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        if os.environ.get("RNAS_TRACEBACK"):
            raise
        print(f"rnas: {error}", file=sys.stderr)
        return 2
    return 0


def _default_workdir(specification: str) -> Path:
    """configs/rnas_cl/cifar10.py:s7 → runs/rnas_cl/cifar10_s7."""
    name, _, argument = specification.partition(":")
    file = Path(name)
    return Path("runs") / file.parent.name / "_".join(filter(None, [file.stem, argument]))


def _answer(result: dict, as_json: bool) -> int:
    if as_json:
        print(json.dumps(result))
    else:
        from rnas.runs.description import as_text

        print(as_text(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
