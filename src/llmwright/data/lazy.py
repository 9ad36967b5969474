"""Lists whose items are made when they are asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar, overload

T = TypeVar("T")


class LazyList(Sequence[T]):
    """A list of known length that holds none of its items."""

    @abstractmethod
    def item(self, place: int) -> T:
        """Return the item at a place, from 0 to the length less 1."""

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        """Return one item, or a list of those of a slice."""
        places = range(len(self))[index]
        return self.item(places) if isinstance(places, int) else [self.item(p) for p in places]
