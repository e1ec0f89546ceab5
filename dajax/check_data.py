"""`run.py --mode=check_data`: reads every file that a config names, before hours are spent on them."""

from data_pipeline import check_data as checking
from dajax import log, tasks
from dajax.errors import printable


def run(config):
    """Prints a report on every domain of the config.

    Returns:
      Whether nothing is wrong.
    """
    domains = tasks.get(config.task).domains_to_check(config)
    bar = log.Counter("check_data")
    lines, is_ok = checking.check(domains, bar.update)
    bar.close()
    for line in lines:
        log.say(printable(line))  # file names may hold anything
    log.say("everything can be used" if is_ok else "something is wrong, see above")
    return is_ok

