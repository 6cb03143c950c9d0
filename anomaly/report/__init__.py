"""What people look at: the report of an inspection, that of an evaluation, galleries and plots."""
