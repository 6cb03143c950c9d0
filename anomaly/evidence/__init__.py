"""What speaks for a defect besides the text: one module for each kind of evidence."""
