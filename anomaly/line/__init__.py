"""On the line: pictures that come one after another, a service with a page, and what happens after a verdict."""
