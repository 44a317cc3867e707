"""What a study found: numbers, intervals, verdict, tables, figures, report."""
