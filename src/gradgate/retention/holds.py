"""What holds an entry of the state folder back: an attestation in use, or a process at work."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from gradgate.common.processes import owner_of
from gradgate.common.run_folder import RunFolder
from gradgate.retention.facts import Facts, facts_of
from gradgate.retention.found import Found
from gradgate.retention.references import References

_AT_WORK = timedelta(days=1)  # in which whoever works on a folder writes something


@dataclass(frozen=True)
class Hold:
    """Why an entry has to stay.

    Attributes:
        reason: In words.
        keeps: Names of files and folders in it that are needed beside its evidence; None: all.
    """

    reason: str
    keeps: frozenset[str] | None = None


@dataclass(frozen=True)
class Entry:
    """Something in the state folder, and what is known of it.

    Attributes:
        found: What lies there.
        around: What the rest of the state folder says.
        revoked: Digests of attestations and ids of keys that no longer hold.
    """

    found: Found
    around: References
    revoked: frozenset[str] = frozenset()

    @property
    def run(self) -> RunFolder:
        """The files of a gate run."""
        return RunFolder(self.found.path)

    @cached_property
    def facts(self) -> Facts | None:
        """What is known of a finished gate run; None of everything else."""
        is_run = self.found.kind == "gate" and self.found.path.suffix != ".part"
        return facts_of(self.run) if is_run else None

    @cached_property
    def holds(self) -> list[Hold]:
        """Why it has to stay; nothing when it may go."""
        if self.found.path.is_symlink():
            return [Hold("is a link; remove it by hand")]
        going_on = self._going_on()
        if going_on is not None or self.facts is None:
            return [] if going_on is None else [Hold(going_on)]
        return self._of_finished(self.facts)

    @cached_property
    def is_of_drill(self) -> bool:
        """Whether a drill made the data of a gate run, which are of no series that goes on."""
        drills = self.found.path.parents[1] / "drills"
        source = None if self.facts is None else self.facts.source
        return source is not None and drills in Path(source).parents

    @cached_property
    def attestation(self) -> str:
        """Whether the attestation is signed and in force, in a word or two; no word on the data.

        The signature itself is not checked.
        """
        attested = None if self.facts is None else self.facts.attested
        if attested is None:
            return "none"
        if attested.decision is None:
            return "unreadable"
        if not self.revoked.isdisjoint({attested.digest, attested.key}):
            return "revoked"
        if not attested.lasts:
            return "expired"
        signed = "unsigned" if attested.key is None else "signed"
        until = attested.expires
        return signed if until is None else f"{signed}, until {until:%Y-%m-%d}"

    @property
    def _vouches(self) -> bool:
        """Whether somebody may verify data by the attestation of a pass."""
        attested = None if self.facts is None else self.facts.attested
        is_pass = attested is not None and attested.decision == "pass"
        return is_pass and self.attestation.startswith(("signed", "unsigned"))

    def _going_on(self) -> str | None:
        """Why somebody may be working on it."""
        owner, path = owner_of(self.run), self.found.path
        is_gone = owner is not None and owner.is_gone()
        if self.found.kind == "gate" and path.suffix == ".part":
            return (
                "was killed; the next run on this host closes it"
                if is_gone
                else "goes on, or is of another host"
            )
        if owner is not None and not is_gone and owner.is_of_this_host():
            return "its process goes on"
        if not is_gone and datetime.now(UTC) - self.found.written < _AT_WORK:
            return "was written to within a day, and its process is not known to be gone"
        return None

    def _of_finished(self, facts: Facts) -> list[Hold]:
        """What refers to a gate run that is over."""
        name, attested = self.found.path.name, facts.attested
        holds = [Hold(reason) for reason in self.around.unreadable]
        if facts.decision is None:
            holds.append(Hold("its verdict.json cannot be read; remove it by hand"))
        if attested is not None and attested.decision is None:
            holds.append(Hold("its attestation.json cannot be read; remove it by hand"))
        if self.around.approves(name, "" if attested is None else attested.digest):
            holds.append(Hold("an approval refers to it"))
        if self._vouches:
            why = f"data may be verified by its attestation ({self.attestation})"
            holds.append(Hold(why, self._attested_files()))
        if any(path.exists() for path in self._trained()):
            holds.append(Hold("what was trained lies there", self._attested_files()))
        if name in self.around.last_runs and not self.is_of_drill:
            holds.append(Hold("last of its gate", frozenset({self.run.flags.name})))
        return holds

    def _trained(self) -> list[Path]:
        run = self.run
        return [run.adapter, run.model, run.held_adapter, run.held_model]

    def _attested_files(self) -> frozenset[str]:
        """What an attestation speaks of, below the folder."""
        rows = self.run.rows.name
        return frozenset(f"{rows}/accepted{suffix}" for suffix in (".jsonl", ".parquet"))
