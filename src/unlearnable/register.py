"""Things known by name (poisons, recoveries, models); an unknown name lists the known ones."""

import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Generic, TypeVar

from unlearnable.errors import InputError

T = TypeVar("T")


def import_modules(package: str, path: Iterable[str]) -> None:
    """Import all modules of a package, each of which registers what it holds, so a new module needs no list."""
    for module in pkgutil.iter_modules(path):
        import_module(f"{package}.{module.name}")


def nearest(name: object, known: list[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known name closest to ``name``, or an empty string."""
    close = get_close_matches(str(name), known, n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def unknown(kind: str, name: object, known: list[str], broken: Mapping[str, str] | None = None) -> InputError:
    """Return the error that a name is not among ``known``; or why it is not, where it is that of a plug-in which is ``broken``."""
    if reason := (broken or {}).get(str(name)):
        return InputError(f"{kind} '{name}': {reason}")
    return InputError(f"unknown {kind} '{name}'; known: {', '.join(known)}{nearest(name, known)}")


class Register(Mapping[str, T], Generic[T]):
    """Names of one kind of thing, in the order of registration.

    Looking up an unknown name raises InputError: ``unknown poison 'opps'; known: none, lsp, ops (did you mean 'ops'?)``.

    ``packages`` has the package of each name that a plug-in registered, and ``broken`` a line for each that could not be.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.packages: dict[str, str] = {}
        self.broken: dict[str, str] = {}
        self._known: dict[str, T] = {}
        self._notes: dict[tuple[str, str], Any] = {}

    def add(self, name: str) -> Callable[[T], T]:
        """Register the decorated thing under ``name``; raise ValueError if the name is taken."""

        def keep(thing: T) -> T:
            if name in self._known:
                raise ValueError(f"{self.kind} '{name}' is registered twice")
            self._known[name] = thing
            return thing

        return keep

    def note(self, about: str, value: Any, *names: str) -> None:
        """Note something about what these names are, or will be, registered for; raise ValueError if one has such a note."""
        for name in names:
            if (about, name) in self._notes:
                raise ValueError(f"{self.kind} '{name}' has two notes '{about}'")
            self._notes[about, name] = value

    def noted(self, about: str, name: str) -> Any:
        """Return what is noted of a name; None where nothing is."""
        return self._notes.get((about, name))

    def snapshot(self) -> tuple[dict[str, T], dict[tuple[str, str], Any]]:
        """Return what is registered and noted."""
        return dict(self._known), dict(self._notes)

    def restore(self, state: tuple[dict[str, T], dict[tuple[str, str], Any]]) -> None:
        """Have that registered and noted, and nothing else."""
        known, notes = state
        self._known, self._notes = dict(known), dict(notes)

    def __getitem__(self, name: str) -> T:
        if name not in self._known:
            raise unknown(self.kind, name, list(self._known), self.broken)
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)
