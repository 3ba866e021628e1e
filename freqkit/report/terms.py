"""Definitions of freqkit's terms, from a data file, the measures and the searchers: the command line explains them, the
report shows them."""

import functools
from pathlib import Path

from freqkit.options import rule_of
from freqkit.registry import MEASURES, SEARCHERS, module_of, stem_of

FILE = Path(__file__).parent / "terms.yaml"


@functools.cache
def terms():
    """All terms: name -> dict of `short`, `formula`, `more`, `source`, `aliases`, `see` (the last ones may be absent).

    Example:
        >>> terms()["FPR"]["short"].split(":")[0]
        'False positive rate'
    """
    import yaml

    found = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    for table in (MEASURES, SEARCHERS):
        for name, (_, text) in table.items():
            module = module_of(table, name)
            found.update(getattr(module, "TERMS", {}))
            fields = getattr(module, stem_of(table, name)).groups[0].fields()
            rules = {field: rule_of(one) for field, one in fields.items()}
            flags = {rule.switch[0] if rule.switch else field: rule.says for field, rule in rules.items() if rule.flag}
            for term, says in {name: text, **flags}.items():
                if _entry(found, term) is None:
                    found[term.replace("_", "-")] = {"short": f"{says[0].upper()}{says[1:].rstrip('.')}."}
    return found


def find_term(word):
    """(name, entry) of a term by its name or an alias, whatever its case; None when there is none.

    Example:
        >>> find_term("--KEEP")[0]
        'keep'
    """
    return _entry(terms(), word)


def _entry(terms, word):
    wanted = _plain(word)
    for name, entry in terms.items():
        if wanted in {_plain(name), *(_plain(alias) for alias in entry.get("aliases", []))}:
            return name, entry
    return None


def near_terms(word, limit=3):
    """Names of terms that are spelled nearly so."""
    import difflib

    known = {}
    for name, entry in terms().items():
        for spelling in (name, *entry.get("aliases", [])):
            known.setdefault(_plain(spelling), name)
    near = difflib.get_close_matches(_plain(word), known, n=limit, cutoff=0.7)
    return list(dict.fromkeys(known[spelling] for spelling in near))


def _plain(word):
    return " ".join(str(word).lower().lstrip("-").replace("-", " ").replace("_", " ").split())
