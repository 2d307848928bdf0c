"""Statistics of records that stay with their parties: counts, sums, means, variances, quantiles."""

from .axes import Bins, Categories
from .query import Query
from .questions import Count, Moments
from .tables import MomentsTable, Quantile, Table

__all__ = ["Bins", "Categories", "Count", "Moments", "MomentsTable", "Quantile", "Query", "Table"]
