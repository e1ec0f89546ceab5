"""The checker of annotations that tests/conftest.py installs."""

from beartype import BeartypeConf, beartype

# PEP 484: an int is accepted where a float is expected.
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
