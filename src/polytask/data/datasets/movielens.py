"""MovieLens: how a film was rated, whether it was liked, whether it was watched at all."""

from __future__ import annotations

import numpy as np
import pandas as pd

from polytask.data.columns import Column
from polytask.data.datasets.rtables import r_table
from polytask.data.multitask import MultiTaskData
from polytask.data.split import split_rows
from polytask.data.table import assemble
from polytask.errors import DataError

__all__ = ["movielens"]


def movielens(*, negatives: float = 1.0, val: float = 0.1, test: float = 0.1, seed: int = 0) -> MultiTaskData:
    """100,004 film ratings by 671 people: rating (regression), liked (rating of 4 or more), watched.

    ``watched`` is 1 for every pair of person and film in the table. Its negatives are pairs that do not occur, drawn at
    random: the person with the frequency of the ratings, so that how active a person is says nothing; the film
    uniformly, so that how popular a film is says much. A pair that does not occur was not rated in this extract; it
    may have been watched. Rating and liked are missing for negatives.

    Args:
        negatives: Negatives per rating, at least 0; with 0 there is no task ``watched``.
        val: Share of the pairs to select by.
        test: Share of the pairs to judge by.
        seed: Seed of the negatives and of the split.

    Returns:
        Inputs: person and film as categories, year, and one feature per genre. The title is left out (the film's id
        says it), and so is the time of rating, which exists for positives only and would give ``watched`` away.

    Raises:
        DataError: ``negatives`` is out of range.
        MissingExtraError: The ``data`` extra is not installed.

    Reference:
        F. M. Harper and J. A. Konstan, "The MovieLens datasets", ACM TiiS 5(4), 2015 (R package dslabs).
    """
    if not 0 <= negatives <= 20:
        raise DataError(f"negatives per rating must be between 0 and 20, found {negatives}")
    frame = r_table("dslabs", "movielens")
    films = frame.drop_duplicates("movieId").set_index("movieId")[["year", "genres"]]
    # With 671 people and 9,066 films, 98 % of all pairs are free: drawing twice as many as needed always suffices.
    rng = np.random.default_rng([seed, 0x30F1])
    wanted = round(negatives * len(frame))
    users, catalogue = frame["userId"].to_numpy(dtype=np.int64), films.index.to_numpy(dtype=np.int64)
    pairs = users * 1_000_000 + frame["movieId"].to_numpy(dtype=np.int64)
    drawn = rng.choice(users, 2 * wanted) * 1_000_000 + rng.choice(catalogue, 2 * wanted)
    drawn = drawn[~np.isin(drawn, pairs)]
    drawn = drawn[np.sort(np.unique(drawn, return_index=True)[1])][:wanted]
    both = np.concatenate([pairs, drawn])
    rating = np.concatenate([frame["rating"].to_numpy(dtype=np.float64), np.full(len(drawn), np.nan)])
    rows = pd.DataFrame({"user": both // 1_000_000, "movie": both % 1_000_000, "rating": rating})
    rows["liked"] = np.where(np.isnan(rating), np.nan, rating >= 4)
    rows["watched"] = (np.arange(len(rows)) < len(frame)).astype(int)
    rows["year"] = films["year"].reindex(rows["movie"]).to_numpy()
    genres = films["genres"].str.get_dummies("|").drop(columns="(no genres listed)", errors="ignore")
    rows = pd.concat([rows, genres.reindex(rows["movie"]).reset_index(drop=True)], axis=1)
    columns = [
        *(Column(name, "categorical") for name in ("user", "movie")),
        *(Column(name, "numeric") for name in ("year", *map(str, genres.columns))),
        Column("title", "dropped", "one per film, which is an input already"),
        Column("timestamp", "dropped", "exists for positives only and would give 'watched' away"),
    ]
    targets = {"rating": "regression", "liked": "binary"}
    if wanted:
        targets["watched"] = "binary"
    return assemble(
        "movielens",
        rows,
        targets,
        columns,
        split_rows(len(rows), val=val, test=test, seed=seed),
        units={"rating": "stars"},
        notes=[
            "MovieLens ratings (R package dslabs); liked: 4 stars or more.",
            f"watched: {len(frame):,} rated pairs against {len(drawn):,} random pairs that do not occur "
            "(not rated here is not the same as not watched).",
            f"Split by pairs, seed {seed}.",
        ],
        advise=False,
        details={"ratings": len(frame), "negatives": len(drawn)},
    )
