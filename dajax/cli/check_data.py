"""`run.py --mode=check_data`: reads every file that a config names, before hours are spent."""

import re

from dajax import console, tasks
from dajax.errors import UserError, printable
from data_pipeline.check import check_data as checking
from data_pipeline.errors import DataError


def run(config):
    """Prints a report on every domain of the config, and on what training would say of them before
    its first step.

    Returns:
      Whether nothing is wrong.
    """
    domains = tasks.get(config.task).domains_to_check(config)
    bar = console.Counter("check_data")
    lines, is_ok = checking.check(domains, bar.update)
    bar.close()
    problems, notes = _begin(config)
    problems = [line for line in problems if _without_count(line) not in "\n".join(lines)]
    lines += [
        "training:",
        *(f"  {line}" for line in notes if line.partition(": ")[2] not in "\n".join(lines)),
    ]
    lines += (
        checking.list_problems({"would stop": problems})
        if problems
        else [f"  nothing{'' if is_ok else ' else'} stops it"]
    )
    for line in lines:
        indent = line[: len(line) - len(line.lstrip())]
        console.say(indent + printable(line))  # file names may hold anything
    is_ok = is_ok and not problems
    console.say("everything can be used" if is_ok else "something is wrong, see above")
    return is_ok


def _begin(config):
    """(what stops the run, notes on it): all that training does with the data before its first
    step, short of decoding a file.
    """
    task = tasks.get(config.task)
    try:
        domains = task.open_data(config)
        for images in (domains.source, domains.target, domains.evaluation):
            images.fingerprint()
        notes = [line for line in task.describe(config, domains) if line.startswith("note: ")]
        return task.problems(config, domains, files=False), notes
    except (DataError, UserError) as error:
        return [str(error)], []


def _without_count(line):
    """A line of an error without the number of others like it, as the report has it."""
    return re.sub(r" \([\d,]+ more such [^()]*\)$", "", line)
