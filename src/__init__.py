"""Image Service: upload pictures with metadata, list and filter them, hand out links, delete them."""

VERSION = "0.1.0"
