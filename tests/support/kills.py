"""Chains of kills: a run that is killed at one random moment after the other, and then let go."""

import collections
import random
import shutil

import same_outcome
import tiny

_TOY = tiny.ROOT / "tests" / "support" / "toy_recipe.py"

# warm-up, pseudo-labels, prototypes, and a round that is compared with what it began with
SPCL = (
    "--config.stages=('warm_up','warm_up_labels','spcl','self_training')",
    "--config.warm_up.init_from=",
    "--config.warm_up.steps=3",
    "--config.spcl.steps=3",
    "--config.self_training.init_from=spcl",
    "--config.self_training.labels_from=warm_up_labels",
    "--config.self_training.steps=3",
    "--config.warm_up.adversarial.width=8",
    "--config.runtime.checkpoint_every=2",
    "--config.evaluation.reestimate_batches=0",
    "--config.evaluation.num_pictures=1",
)
# All switches of cross_domain_mixing, within the ramp of the teacher
MIC = (
    "--config.stages=('mic',)",
    "--config.mic.init_from=",
    "--config.mic.steps=7",
    "--config.mic.batch_size=2",
    "--config.runtime.checkpoint_every=2",
    "--config.evaluation.reestimate_batches=0",
    "--config.evaluation.num_pictures=1",
)
# What stands for the moment's work in a report, by (stage, work); see kind_of.
_KINDS = {
    "compile": "compilation",
    "step": "training",
    "evaluation": "evaluation",
    "save": "checkpoint",
    "restore": "resuming",
    "verdict": "verdict",
    "results": "final table",
    "table": "final table",
}


def toy_words(workdir, *flags):
    """What follows run.py for a run of toy_recipe."""
    cache = f"--config.runtime.compilation_cache={tiny.CACHE}"
    return [f"--config={_TOY}", f"--workdir={workdir}", cache, *flags]


class Subject:
    """A run to be killed.

    Args:
      server: forked_runs.Server.
      folder: for its workdirs.
      words: f(workdir) -> what follows run.py.
      refreshes: {stage: what its refresh is called in a report}.
    """

    def __init__(self, server, folder, words, refreshes):
        self.server, self.folder, self.words, self.refreshes = server, folder, words, refreshes
        self.straight = folder / "straight"
        self.run(self.straight)  # compiles, which is no part of the moments
        shutil.rmtree(self.straight)
        self.moments = self.run(self.straight).moments

    def run(self, workdir, **fault):
        """One run; without a fault it must succeed."""
        outcome = self.server.run(self.words(workdir), workdir=workdir, **fault)
        assert fault or outcome.status == 0, outcome.output
        return outcome

    def kind_of(self, stage, work):
        """What the run was at: "training", "clustering", "checkpoint" ..."""
        if work == "refresh":
            return self.refreshes[stage]
        return _KINDS.get(work) or ("between" if stage else "start")

    def chain(self, name, seed, kills):
        """Kills a run up to `kills` times at moments drawn by `seed`, lets it end, and compares.

        Returns:
          [kind of work] of the kills that have met the run.
        """
        draws, workdir, met, told = random.Random(seed), self.folder / name, [], []
        for moment in self._drawn(draws, kills):
            outcome = self.run(workdir, kill=moment)
            told.append(moment)
            if outcome.status == 0:  # it had come past that moment
                break
            assert outcome.status == -9, f"seed {seed}, kills {told}: {outcome.output}"
            met.append(self.kind_of(*moment[:2]))
        try:
            self.run(workdir)
            same_outcome.assert_same(self.straight, workdir)
        except BaseException as error:
            error.add_note(f"seed {seed}, kills {told}, workdir {workdir}")
            raise
        shutil.rmtree(workdir)
        return met

    def _drawn(self, draws, kills):
        """Moments in the order in which an undisturbed run passes them. The kinds of work are
        equally likely, however long they take; half of the kills fall in the middle of what
        follows.
        """
        by_kind = collections.defaultdict(list)
        for i, (_, stage, work, _) in enumerate(self.moments):
            by_kind[self.kind_of(stage, work)].append(i)
        places = [draws.choice(by_kind[draws.choice(sorted(by_kind))]) for _ in range(kills)]
        for i, place in enumerate(sorted(places)):
            time, *name = self.moments[place]
            # how many of them, in a process that has begun anew
            count = sum(other[1:] == (*name,) for other in self.moments[: place + 1])
            count = count if i == 0 else draws.randint(1, min(count, 3))
            after = self.moments[min(place + 1, len(self.moments) - 1)][0] - time
            seconds = draws.choice((0.0, draws.uniform(0.0, min(max(after, 0.002), 4.0))))
            yield (*name, count, round(seconds, 4))
