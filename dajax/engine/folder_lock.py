"""One owner a folder: a run owns its workdir, a sweep the folder of its runs.

<folder>/.lock is locked by the operating system, which releases it when the process ends, however
it ends; and says in a line of JSON who holds it. A network file system may keep no such locks
between machines, so the owner also renews the file's time: another machine's owner counts as gone
when the time stands still. The file goes when its owner ends; what a killed one leaves stops
nobody for longer than half a minute, wherever the folder is copied to.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import pathlib
import socket
import threading
import time

from dajax import console
from dajax.errors import UserError

NAME = ".lock"
# Seconds between two renewals of the file's time, and between two looks at it; looks without a
# change until another machine's owner counts as gone. Ours: six renewals may be missed. Looks are
# counted, not seconds, since a server that hangs holds up owner and looker alike.
_RENEWAL, _LOOK, _LOOKS = 5.0, 1.0, 30
# A look for the line of an owner that has just taken the folder, and how many.
_MOMENT, _MOMENTS = 0.1, 10
_of_runs = set()  # locks that a forked child must not keep alive


@dataclasses.dataclass(frozen=True)
class Owner:
    """Who holds a folder.

    Attributes:
      host: name of the machine. boot: what tells one start of a machine from all others.
      processes: which numbering of processes `pid` is of; a container has its own.
      pid: of the process; `started`: its start, in the system's own unit.
      since: when it took the folder, ISO 8601.
    """

    host: str
    boot: str
    processes: str
    pid: int
    started: str
    since: str

    def __str__(self):
        since = self.since.replace("T", " ")
        return f"process {self.pid} on {self.host} has been at work there since {since}"

    def is_of_this_machine(self):
        return self.boot == _boot()

    def is_gone(self):
        """Whether its process has certainly ended, of an owner on this machine."""
        return self.processes == _numbering() and self.started != _started(self.pid)


class FolderLock:
    """The lock of a folder, which is made if need be. Close it, or use it in a `with`.

    Args:
      folder: path.
      check: called between two looks at another machine's lock; may raise.

    Raises:
      UserError: the folder cannot be made or written to.
    """

    def __init__(self, folder, check=lambda: None):
        self.path, self._check = pathlib.Path(folder) / NAME, check
        self._file, self._record = None, None
        self._ended = threading.Event()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(folder, error) from error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def fileno(self):
        """Of the locked file. A child that inherits it keeps the folder locked while it lives."""
        return self._file.fileno()

    def take(self):
        """Takes the folder, unless another process has it; that one is left as it is.

        Returns:
          None, or what is known of who has it: an Owner, or a sentence.
        """
        while True:
            try:
                # without a buffer, which would be written again, and fail again, as it closes
                file = open(self.path, "r+b", buffering=0, opener=_create)
            except OSError as error:
                raise _unwritable(self.path.parent, error) from error
            try:
                holder = self._holder(file)
                if holder is not None:
                    file.close()
                    return holder
                if self._is_there(file):
                    return self._keep(file)
                file.close()  # its owner has ended and removed it: a new one is due
            except BaseException as error:
                file.close()
                if isinstance(error, OSError):
                    raise _unwritable(self.path.parent, error) from error
                raise

    def close(self):
        """Gives the folder back: the file goes."""
        self._ended.set()
        file, self._file = self._file, None
        if file is None:
            return
        with contextlib.suppress(OSError):
            if _content(self.path) == self._record:
                self.path.unlink()
        file.close()

    def _holder(self, file):
        """Who has the folder; None where this process has it now."""
        is_locked = try_lock(file)
        if is_locked is False:
            return self._living()
        content = _content(self.path)
        owner = _parse(content)
        if owner is None:  # a new file, or of a process that was killed as it wrote this one
            return None
        if owner.is_of_this_machine() and (is_locked or owner.is_gone()):
            return None
        return owner if self._shows_life(owner, content) else None

    def _living(self):
        """Who has a locked folder; what a killed one has left there names the wrong one."""
        for _ in range(_MOMENTS):
            owner = _parse(_content(self.path))
            if owner is not None and not (owner.is_of_this_machine() and owner.is_gone()):
                return owner
            time.sleep(_MOMENT)
        return "another process is at work there"

    def _shows_life(self, owner, content):
        """Whether an owner that no system vouches for renews its file, or another takes it."""
        console.say(
            f"{self.path.parent}: {owner}, says {self.path}; looking for its sign of life,"
            f" {_LOOK * _LOOKS:.0f} s at most ..."
        )
        before = self.path.stat().st_mtime_ns
        for _ in range(_LOOKS):
            self._check()
            time.sleep(_LOOK)
            try:
                with open(self.path, "rb") as file:  # opening asks a network's server anew
                    if os.fstat(file.fileno()).st_mtime_ns != before:
                        return True
            except FileNotFoundError:
                return False
        if _content(self.path) != content:
            return True
        console.say(f"{self.path.parent}: it shows none, so its process has ended; taken over")
        return False

    def _keep(self, file):
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        owner = Owner(socket.gethostname(), _boot(), _numbering(), os.getpid(), "", now)
        owner = dataclasses.replace(owner, started=_started(owner.pid))
        self._record = (json.dumps(dataclasses.asdict(owner)) + "\n").encode()
        try:
            file.truncate(0)
            rest = self._record
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:  # a full disk: nothing half written is left
            self.path.unlink()
            raise
        self._file = file
        threading.Thread(target=self._renew, name="folder_lock", daemon=True).start()

    def _renew(self):
        while not self._ended.wait(_RENEWAL):
            with contextlib.suppress(OSError):  # the loop says what has become of the disk
                content = _content(self.path)
                owner = _parse(content)
                if content == self._record:
                    os.utime(self.path)
                elif owner is not None and not self._ended.is_set():
                    self._give_way(owner)

    def _give_way(self, owner):
        """Ends the process: it was held up for so long that another machine has taken it for gone,
        or both began at the same moment. What it would still write, a checkpoint too, would be
        written over theirs.
        """
        line = f"error: {self.path.parent}: {owner} and has taken it over; this process ends\n"
        with contextlib.suppress(OSError):
            os.write(2, line.encode())
        os._exit(1)

    def _is_there(self, file):
        """Whether the path still leads to this file."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), os.stat(self.path))
        except FileNotFoundError:
            return False


@contextlib.contextmanager
def owned(workdir):
    """This process alone works in a run's workdir within the block.

    Args:
      workdir: path, made if need be.

    Raises:
      UserError: another process has it; nothing in it was touched. Or it cannot be written to.
    """
    with FolderLock(workdir) as lock:
        holder = lock.take()
        if holder is not None:
            raise UserError(f"--workdir={workdir}: {holder}; {_remedy(holder, lock.path)}")
        _of_runs.add(lock)
        try:
            yield
        finally:
            _of_runs.discard(lock)


def try_lock(file):
    """Asks the operating system for an open file's lock, which ends with the process.

    Returns:
      True, False where another process has it, None where the file system keeps no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remedy(holder, path):
    if not isinstance(holder, Owner):
        return "wait for it to end, or choose another --workdir"
    stop = f"stop it (kill {holder.pid}"
    if holder.is_of_this_machine():
        return f"wait for it to end, {stop}), or choose another --workdir"
    return (
        f"wait for it to end, {stop} on {holder.host}), or choose another --workdir; if it is"
        f" certain that it has ended, remove {path}"
    )


def _create(path, flags):
    return os.open(path, flags | os.O_CREAT, 0o666)


def _content(path):
    """Bytes of the file; b"" where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _parse(content):
    """The Owner that a lock file names; None where it is empty, torn or of something else."""
    try:
        return Owner(**json.loads(content))
    except (ValueError, TypeError):
        return None


def _boot():
    """Linux: the same for all containers of a machine. Elsewhere the machine's name must do."""
    try:
        return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def _numbering():
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid):
    """When a process started, so that a number that was given again is told; "gone" where there is
    none.
    """
    try:
        status = pathlib.Path(f"/proc/{pid}/stat").read_text()
        state, *fields = status.rpartition(")")[2].split()
        # of proc(5): field 3, where Z and X are a process that has ended; field 22, starttime
        return "gone" if state in "ZX" else fields[18]
    except OSError:
        if pathlib.Path("/proc/self/stat").exists():
            return "gone"
    try:  # no Linux: its number must do
        os.kill(pid, 0)
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        pass
    return "unknown"


def _unwritable(folder, error):
    return UserError(
        f"--workdir={folder}: cannot be written to ({error.strerror}); choose another --workdir"
    )


def _forget_in_child():
    """A worker process of a run that was killed would hold its workdir for as long as it lives."""
    for lock in _of_runs:
        lock._file.close()
        lock._file = None
    _of_runs.clear()


os.register_at_fork(after_in_child=_forget_in_child)
