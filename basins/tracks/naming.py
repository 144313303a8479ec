"""Names for basins that a reader can say: key words where there are texts, else a place in plain words.

Key words are those of class-based TF-IDF [1]_: all posts of a track are one document, and the posts of no track another
one; a word counts for much that is frequent in the track and rare elsewhere.

References
----------
.. [1] Grootendorst (2022), BERTopic: neural topic modeling with a class-based TF-IDF procedure, arXiv:2203.05794,
   eq. 2.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

from basins.basin import Basin
from basins.space import Snapshot
from basins.tracks.tracking import Track, Tracking
from stpp.domain import Array

KEY_WORDS = 3
"""In a name."""

MOST_POSTS = 5_000
"""Posts per track, at most, that key words are taken from: the newest ones."""

LONGEST = 30
"""Characters of a key word."""

AXES_NAMED = 2
"""Axes, at most, that a name of place speaks of."""

_LINKS_AND_PEOPLE = re.compile(r"(?:https?://|www\.)\S+|@\w+|&(?:amp|lt|gt|quot|#\d+);", re.IGNORECASE)

_NO_WORDS = frozenset(
    [
        *("rt", "via", "amp", "http", "https", "www", "com", "ll", "ve", "re", "im", "ive", "id", "lets", "thats"),
        *("don", "doesn", "didn", "isn", "wasn", "aren", "weren", "won", "wouldn", "couldn", "shouldn", "hasn"),
        *("dont", "doesnt", "didnt", "isnt", "wasnt", "wont", "cant", "haven", "hadn", "ain", "youre", "theyre"),
    ]
)
"""What English stop words leave of tweets: marks of retweets and links, and halves of contractions."""

_WORDS = frozenset(["bill", "computer", "cry", "detail", "fire", "interest", "mine", "sincere", "system"])
"""What scikit-learn takes for English stop words, and basins may be about (Nothman et al. 2018)."""


@dataclass(frozen=True)
class Name:
    """What a track is called.

    Parameters
    ----------
    text : the name, unlike that of any other track
    words : its key words, most typical first; none without texts
    place : where it lies, in plain words
    posts : rows (of all events) of the posts nearest to its peak, newest window first
    """

    text: str
    words: tuple[str, ...]
    place: str
    posts: tuple[int, ...]


def names(
    snapshots: Sequence[Snapshot],
    found: Sequence[Sequence[Basin]],
    tracking: Tracking,
    texts: Sequence[str] | None,
    axes: Sequence[str],
) -> dict[int, Name]:
    """Track → its name.

    Parameters
    ----------
    snapshots : the windows
    found : basins of each window
    tracking : their tracks
    texts : of all events, to take key words from; None where there are none
    axes : names of the coordinates
    """
    tracks = tracking.tracks
    places = _places(snapshots, found, tracks, axes)
    words = _key_words(snapshots, found, tracks, texts) if texts is not None else [()] * len(tracks)
    wanted = [", ".join(chosen) or place for chosen, place in zip(words, places, strict=True)]
    unique = _told_apart(wanted)
    posts = [tuple(row for k, b in reversed(track.basins) for row in found[k][b].members) for track in tracks]
    return {
        track.id: Name(text, tuple(chosen), place, tuple(dict.fromkeys(rows)))
        for track, text, chosen, place, rows in zip(tracks, unique, words, places, posts, strict=True)
    }


def _told_apart(wanted: Sequence[str]) -> list[str]:
    """Names with a number where several tracks want the same."""
    total, taken, out = Counter(wanted), set(wanted), []
    seen: Counter[str] = Counter()
    for name in wanted:
        if total[name] == 1:
            out.append(name)
            continue
        seen[name] += 1
        while (numbered := f"{name} ({seen[name]})") in taken:
            seen[name] += 1
        taken.add(numbered)
        out.append(numbered)
    return out


# -- by place -----------------------------------------------------------------------------------------------------


def _places(
    snapshots: Sequence[Snapshot], found: Sequence[Sequence[Basin]], tracks: Sequence[Track], axes: Sequence[str]
) -> list[str]:
    """Where each track lies: on each axis in the upper, the lower or the middle third of all posts.

    Where there are many axes, those on which the track is farthest from the middle post.
    """
    if not tracks:
        return []
    x = np.concatenate([snapshot.posts.x for snapshot in snapshots])
    lower, middle, upper = np.quantile(x, [1 / 3, 1 / 2, 2 / 3], axis=0)
    spread = np.where(upper > lower, upper - lower, np.inf)
    out = []
    for track in tracks:
        masses = np.array([found[k][b].mass for k, b in track.basins])
        centre = np.average([found[k][b].centre for k, b in track.basins], axis=0, weights=masses)
        out.append(_place(centre, lower, upper, np.abs(centre - middle) / spread, axes))
    return out


def _place(centre: Array, lower: Array, upper: Array, apart: Array, axes: Sequence[str]) -> str:
    chosen = np.sort(np.argsort(-apart, kind="stable")[:AXES_NAMED])
    outside = [k for k in chosen if not lower[k] <= centre[k] <= upper[k]]
    return ", ".join(f"{'high' if centre[k] > upper[k] else 'low'} {axes[k]}" for k in outside) or "middle"


# -- by words -----------------------------------------------------------------------------------------------------


class _Letters(dict[int, str]):
    """Character → itself if it is part of a word in any script, else a blank; filled as characters come."""

    def __missing__(self, code: int) -> str:
        kept = chr(code) if category(chr(code))[0] in "LMN" or chr(code) in "#'’_" else " "
        self[code] = kept
        return kept


_LETTERS = _Letters()


def words_of(text: str) -> list[str]:
    """The words of a post in any script, in lower case: hashtags kept; links, @names, numbers, stop words left out."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    out = []
    for piece in _LINKS_AND_PEOPLE.sub(" ", text).translate(_LETTERS).lower().split():
        bare = re.split("['’]", piece.strip("'’_"))[0].replace("#", "").strip("_")
        if len(bare) < 2 or len(bare) > LONGEST or not any(letter.isalpha() for letter in bare):
            continue
        if bare in _WORDS or not (bare in ENGLISH_STOP_WORDS or bare in _NO_WORDS):
            out.append("#" * piece.startswith("#") + bare)
    return out


def _key_words(
    snapshots: Sequence[Snapshot], found: Sequence[Sequence[Basin]], tracks: Sequence[Track], texts: Sequence[str]
) -> list[tuple[str, ...]]:
    """The most typical words of each track; none where its posts have no words."""
    from sklearn.feature_extraction.text import CountVectorizer

    classes = [_rows_of(snapshots, found, track) for track in tracks]
    every = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *(snapshot.rows for snapshot in snapshots)]))
    classes.append(np.setdiff1d(every, np.concatenate([np.empty(0, dtype=np.int64), *classes])))
    chosen = [rows[-MOST_POSTS:] for rows in classes]
    posts = [words_of(str(texts[row])) if texts[row] is not None else [] for rows in chosen for row in rows]
    if not any(posts):
        return [()] * len(tracks)
    # binary: a word counts once per post, so that no post names a basin by repeating itself
    count = CountVectorizer(analyzer=list, binary=True)
    table, ends = count.fit_transform(posts), np.cumsum([0, *map(len, chosen)])
    totals = np.stack([np.asarray(table[a:b].sum(axis=0)).ravel() for a, b in itertools.pairwise(ends)]).astype(float)
    rarity = np.log1p(totals.sum() / len(totals) / totals.sum(axis=0))
    vocabulary = count.get_feature_names_out()
    return [_chosen(total, total * rarity, vocabulary) for total in totals[:-1]]


def _chosen(total: Array, score: Array, vocabulary: NDArray[np.object_]) -> tuple[str, ...]:
    """The words of highest score in more than one post, or in one if no word is in more; a hashtag or its word."""
    least = min(2.0, float(total.max()))
    out: list[str] = []
    for k in np.lexsort((vocabulary, -score)):
        if len(out) == KEY_WORDS or not total[k] > 0:
            break
        word = str(vocabulary[k])
        if total[k] >= least and word.lstrip("#") not in {other.lstrip("#") for other in out}:
            out.append(word)
    return tuple(out)


def _rows_of(snapshots: Sequence[Snapshot], found: Sequence[Sequence[Basin]], track: Track) -> NDArray[np.int64]:
    """Rows of the posts that are more a track's own than anything else's, in time order."""
    rows = []
    for k, b in track.basins:
        own = np.append(found[k][b].region, False)[snapshots[k].cell]
        rows.append(snapshots[k].rows[own])
    return np.unique(np.concatenate(rows))
