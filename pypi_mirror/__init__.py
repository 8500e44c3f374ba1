"""The mirror: a caching package index, private projects first, rendered when data changes and served as bytes."""
