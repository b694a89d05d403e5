"""What `pgflow doctor` looks at: readings of a database, what is wrong with them, and what mends it."""

from pgflow._doctor.examination import Examination, examine
from pgflow._doctor.findings import Finding, Severity

__all__ = ["Examination", "Finding", "Severity", "examine"]
