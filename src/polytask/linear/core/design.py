"""The data of all tasks as one linear operator: W (d, T) ↦ predictions, without a block-diagonal matrix.

Two storages: :class:`SharedDesign` when every task sees the same rows (targets (n, T)), :class:`StackedDesign` when
each task has rows of its own (targets (N,), rows sorted by task). Both take dense or sparse X; a sparse X is centred
implicitly. Coefficients are (d, T) arrays in Fortran order: a task's coefficients are contiguous.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from polytask.blas import one_blas_thread

__all__ = ["Design", "SharedDesign", "StackedDesign"]

Array = NDArray[Any]


def is_sparse(X: Any) -> bool:
    """Whether X is a SciPy sparse matrix or array."""
    return bool(sparse.issparse(X))


class Design(ABC):
    """A linear map from coefficients to predictions, with what the solvers ask of it.

    Attributes:
        X: Dense or CSR matrix.
        n_features: d.
        n_tasks: T.
        offset: Subtracted from every row of X, implicitly: (d, 1) or (d, T); None for zero.
    """

    X: Any
    n_features: int
    n_tasks: int
    offset: Array | None
    dtype: np.dtype[Any]

    @abstractmethod
    def _forward(self, W: Array) -> Array: ...

    @abstractmethod
    def _adjoint(self, R: Array) -> Array: ...

    @abstractmethod
    def task_sum(self, v: Array) -> Array:
        """Sum over the rows of each task (T,) of an array shaped like the targets."""

    @abstractmethod
    def expand(self, b: Array) -> Array:
        """One value per task (T,), shaped to broadcast against the targets."""

    @abstractmethod
    def select(self, index: Array) -> Design:
        """The same rows with a subset of the features."""

    @abstractmethod
    def gram_features(self, weight: Array) -> int:
        """Up to how many features Gram matrices are worth having: about 4/3 of a task's rows."""

    @abstractmethod
    def _gram(self, weight: Array) -> Array: ...

    def gram(self, weight: Array) -> Array | None:
        """Gram matrices X_t' diag(ω_t) X_t, (T, d, d) or one (d, d), if they are worth having; otherwise None."""
        return self._gram(weight) if self.n_features <= self.gram_features(weight) else None

    @abstractmethod
    def square_norms(self, weight: Array) -> Array:
        """Weighted squared norms of the columns of X (d, T)."""

    @abstractmethod
    def _row_gram_top(self, weight: Array) -> float | None:
        """Largest eigenvalue from the matrices of inner products of rows, or None if they are too large."""

    def sweep(self, W: Array, slopes: Callable[[Array, slice], Array]) -> tuple[Array, Array] | None:
        """Predictions Z of W and X' slopes(Z) while X is read once, where that pays; otherwise None."""
        return None

    def forward(self, W: Array) -> Array:
        """Predictions of coefficients W (d, T), shaped like the targets."""
        Z = self._forward(W)
        if self.offset is not None:
            Z -= self.expand(np.sum(self.offset * W, axis=0))
        return Z

    def adjoint(self, R: Array) -> Array:
        """X_t' r_t for every task, (d, T), from an array shaped like the targets."""
        G = self._adjoint(R)
        if self.offset is not None:
            G -= self.offset * self.task_sum(R)
        return G

    def lipschitz(self, weight: Array, gram: Array | None) -> float:
        """max_t λ_max(X_t' diag(ω_t) X_t): exact for small problems, otherwise 5 % above a power iteration."""
        d = self.n_features
        if gram is not None and gram.shape[-1] <= (200 if gram.ndim == 3 else 1500):
            with one_blas_thread():
                return float(np.linalg.eigvalsh(gram)[..., -1].max())
        top = self._row_gram_top(weight)
        if top is not None:
            return top
        V = np.asfortranarray(np.random.default_rng(0).standard_normal((d, self.n_tasks)).astype(self.dtype))
        value = 0.0
        for _ in range(24):
            V /= np.maximum(np.sqrt(np.einsum("jt,jt->t", V, V)), np.finfo(self.dtype).tiny)
            V = _times(gram, V) if gram is not None else self.adjoint(weight * self.forward(V))
            value = float(np.sqrt(np.einsum("jt,jt->t", V, V).max(initial=0.0)))
        return 1.05 * value


def _times(gram: Array, W: Array) -> Array:
    """H W for one Gram matrix (d, d), or column by column for (T, d, d)."""
    if gram.ndim == 2:
        return np.asarray((W.T @ gram).T)
    return np.asarray(np.matmul(gram, W.T[:, :, None])[:, :, 0].T)


@final
class SharedDesign(Design):
    """One X (n, d) for all tasks; targets and weights are (n, T).

    Examples:
        >>> import numpy as np
        >>> SharedDesign(np.eye(2), n_tasks=2).forward(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """

    def __init__(self, X: Any, n_tasks: int, offset: Array | None = None) -> None:
        self.X, self.n_tasks, self.offset = X, n_tasks, offset
        self.n_features, self.dtype = X.shape[1], X.dtype

    def _forward(self, W: Array) -> Array:
        rows = np.flatnonzero(W.any(axis=1))
        if 8 * len(rows) < self.n_features:
            return np.asarray(self.X[:, rows] @ W[rows])
        return np.asarray(self.X @ W)

    def _adjoint(self, R: Array) -> Array:
        if is_sparse(self.X):
            return np.asfortranarray(self.X.T @ R)
        return np.asarray((R.T @ self.X).T)

    def task_sum(self, v: Array) -> Array:
        """Column sums."""
        return np.asarray(v.sum(axis=0))

    def expand(self, b: Array) -> Array:
        """(1, T)."""
        return b[None, :]

    def select(self, index: Array) -> Design:
        """Columns of X."""
        return SharedDesign(self.X[:, index], self.n_tasks, None if self.offset is None else self.offset[index])

    def common(self, weight: Array) -> bool:
        """Whether all tasks have the same centred rows with the same weights."""
        offset = self.offset is None or self.offset.shape[1] == 1
        return offset and bool(np.all(weight == weight[:, :1]))

    def gram_features(self, weight: Array) -> int:
        """From the rows if all tasks weigh them alike, so that one matrix serves all; otherwise 0."""
        return int(self.X.shape[0] / 0.75) if self.common(weight) else 0

    def _gram(self, weight: Array) -> Array:
        return _moments(self.X, weight[:, 0], None if self.offset is None else self.offset[:, 0])

    def square_norms(self, weight: Array) -> Array:
        """Σ_i ω_it (x_ij − m_jt)²."""
        squares = self.X.multiply(self.X) if is_sparse(self.X) else self.X * self.X
        norms = np.asarray(squares.T @ weight)
        if self.offset is not None:
            norms = norms - 2 * self.offset * np.asarray(self.X.T @ weight) + self.offset**2 * weight.sum(axis=0)
        return np.asarray(np.maximum(norms, 0))

    def _row_gram_top(self, weight: Array) -> float | None:
        n, d = self.X.shape
        if min(n, d) > 1500:
            return None
        # one bound for all tasks: centring and smaller weights only lower it
        root = np.sqrt(weight.max(axis=1))
        offset = None if self.offset is None or self.offset.shape[1] > 1 else self.offset[:, 0]
        small = _moments(self.X, root**2, offset) if d <= n else _inner(self.X, root, offset)
        with one_blas_thread():
            return float(np.linalg.eigvalsh(small)[-1]) if small.size else 0.0


@final
class StackedDesign(Design):
    """Rows of all tasks on top of each other, sorted by task; targets and weights are (N,).

    Args:
        X: (N, d), dense C-ordered or CSR.
        starts: (T + 1,): rows ``starts[t]:starts[t + 1]`` are task t's.
        offset: (d, T) or None.

    Examples:
        >>> import numpy as np
        >>> design = StackedDesign(np.array([[1.0], [2.0], [3.0]]), np.array([0, 1, 3]))
        >>> design.forward(np.array([[1.0, 10.0]])).tolist()
        [1.0, 20.0, 30.0]
    """

    def __init__(self, X: Any, starts: Array, offset: Array | None = None) -> None:
        self.X, self.starts, self.offset = X, starts, offset
        self.n_features, self.n_tasks, self.dtype = X.shape[1], len(starts) - 1, X.dtype
        self.sizes = np.diff(starts)
        even = self.n_tasks > 0 and bool(np.all(self.sizes == self.sizes[0])) and not is_sparse(X)
        self._cube = X.reshape(self.n_tasks, -1, X.shape[1]) if even else None
        self._parts = None if even else [_rows(X, a, b) for a, b in pairwise(starts.tolist())]

    def _forward(self, W: Array) -> Array:
        if self._cube is not None:
            return np.asarray(np.matmul(self._cube, W.T[:, :, None]).reshape(-1))
        assert self._parts is not None
        out = np.empty(self.X.shape[0], dtype=np.result_type(self.dtype, W.dtype))
        for t, part in enumerate(self._parts):
            out[self.starts[t] : self.starts[t + 1]] = part @ W[:, t]
        return out

    def _adjoint(self, R: Array) -> Array:
        if self._cube is not None:
            return np.asarray(np.matmul(R.reshape(self.n_tasks, 1, -1), self._cube)[:, 0, :].T)
        assert self._parts is not None
        out = np.empty((self.n_tasks, self.n_features), dtype=np.result_type(self.dtype, R.dtype))
        for t, part in enumerate(self._parts):
            r = R[self.starts[t] : self.starts[t + 1]]
            out[t] = part.T @ r if is_sparse(part) else r @ part
        return out.T

    def sweep(self, W: Array, slopes: Callable[[Array, slice], Array]) -> tuple[Array, Array] | None:
        """One pass instead of two when X is far larger than the caches and a task's rows are not."""
        if is_sparse(self.X) or self.offset is not None or self.X.nbytes < 2**25:
            return None
        if int(self.sizes.max()) * self.n_features * self.X.itemsize > 2**22:
            return None
        Z = np.empty(self.X.shape[0], dtype=np.result_type(self.dtype, W.dtype))
        G = np.empty((self.n_tasks, self.n_features), dtype=Z.dtype)
        columns = W.T
        for t, (start, stop) in enumerate(pairwise(self.starts.tolist())):
            rows = slice(start, stop)
            part = self.X[rows]
            Z[rows] = part @ columns[t]
            np.dot(slopes(Z[rows], rows), part, out=G[t])
        return Z, G.T

    def task_sum(self, v: Array) -> Array:
        """Sums of the segments."""
        return np.add.reduceat(v, self.starts[:-1])

    def expand(self, b: Array) -> Array:
        """(N,)."""
        return np.repeat(b, self.sizes)

    def select(self, index: Array) -> Design:
        """Columns of X."""
        X = self.X[:, index] if is_sparse(self.X) else np.take(self.X, index, axis=1)
        return StackedDesign(X, self.starts, None if self.offset is None else self.offset[index])

    def _pieces(self, weight: Array) -> Any:
        for t in range(self.n_tasks):
            a, b = int(self.starts[t]), int(self.starts[t + 1])
            shift = None if self.offset is None else self.offset[:, 0 if self.offset.shape[1] == 1 else t]
            yield _rows(self.X, a, b), weight[a:b], shift

    def gram_features(self, weight: Array) -> int:
        """From the mean number of rows per task."""
        return int(self.X.shape[0] / self.n_tasks / 0.75)

    def _gram(self, weight: Array) -> Array:
        if self._cube is None:
            return np.stack([_moments(X, w, shift) for X, w, shift in self._pieces(weight)])
        w = weight.reshape(self.n_tasks, -1)
        root = self._cube * np.sqrt(w)[:, :, None]
        H = np.matmul(root.transpose(0, 2, 1), root)
        if self.offset is not None:
            shift = np.broadcast_to(self.offset.T, (self.n_tasks, self.n_features))
            cross = shift[:, :, None] * np.matmul(w[:, None, :], self._cube)
            H += w.sum(axis=1)[:, None, None] * (shift[:, :, None] * shift[:, None, :])
            H -= cross + cross.transpose(0, 2, 1)
        return np.asarray(H)

    def square_norms(self, weight: Array) -> Array:
        """Σ_i ω_i (x_ij − m_jt)² over each task's rows."""
        out = np.empty((self.n_tasks, self.n_features), dtype=self.dtype)
        for t, (X, w, shift) in enumerate(self._pieces(weight)):
            out[t] = w @ (X * X) if not is_sparse(X) else X.multiply(X).T @ w
            if shift is not None:
                out[t] += shift * (shift * w.sum() - 2 * (X.T @ w))
        return np.maximum(out, 0).T

    def _row_gram_top(self, weight: Array) -> float | None:
        if min(int(self.sizes.max()), self.n_features) > 400:
            return None
        top = 0.0
        for X, w, shift in self._pieces(weight):
            small = _moments(X, w, shift) if X.shape[1] <= X.shape[0] else _inner(X, np.sqrt(w), shift)
            # the Frobenius norm bounds the eigenvalue: most tasks need no eigenvalue once one is known
            with one_blas_thread():
                if small.size and np.linalg.norm(small) > top:
                    top = max(top, float(np.linalg.eigvalsh(small)[-1]))
        return top


def _rows(X: Any, start: int, stop: int) -> Any:
    """Rows of X as a view; SciPy's own slicing would copy."""
    if not is_sparse(X):
        return X[start:stop]
    first, last = X.indptr[start], X.indptr[stop]
    pointers = X.indptr[start : stop + 1] - first
    return sparse.csr_array((X.data[first:last], X.indices[first:last], pointers), shape=(stop - start, X.shape[1]))


def _moments(X: Any, weight: Array, shift: Array | None) -> Array:
    """(X − 1m')' diag(ω) (X − 1m')."""
    if is_sparse(X):
        H = np.asarray((X.T @ X.multiply(weight[:, None])).todense())
    else:
        # a symmetric product of one array with itself takes BLAS's half-price routine
        root = X * np.sqrt(weight)[:, None]
        H = root.T @ root
    if shift is not None:
        cross = np.outer(shift, X.T @ weight)
        H = H - cross - cross.T + weight.sum() * np.outer(shift, shift)
    return H


def _inner(X: Any, root: Array, shift: Array | None) -> Array:
    """diag(√ω) (X − 1m')(X − 1m')' diag(√ω)."""
    K = np.asarray((X @ X.T).todense()) if is_sparse(X) else X @ X.T
    if shift is not None:
        cross = np.asarray(X @ shift)
        K = K - cross[:, None] - cross[None, :] + shift @ shift
    return K * root[:, None] * root[None, :]
