"""The texts that a model is known by. They are fixed: a change of any of them needs a new PROBE_SET."""

from collections.abc import Iterator

PROBE_SET = 1
"""Which texts these are; a fingerprint of another set cannot be compared."""

PROBES: tuple[str, ...] = (
    "The ferry to the island leaves at half past seven, unless the wind is from the north.",
    "how do i undo the last commit without losing my changes",
    "Straße, naïve café, Łódź, İstanbul, smørrebrød und 37 °C",
    "Поезд опоздал на два часа, и мы пили чай на вокзале.",
    "القمر يضيء الطريق إلى القرية القديمة.",
    "図書館は月曜日に休みです。请把窗户关上。",
    "हर सुबह वह नदी के किनारे टहलने जाती है।",
    "🚲🌧️ late again 😅 👍🏽",
    "def area(r: float) -> float:\n    return 3.14159 * r ** 2  # in m²\n",
    'SELECT count(*) FROM "orders" WHERE total >= 99.90 AND note IS NOT NULL;',
    "?! ... -- (( [] {} )) // \\ <> | ~ ^ & * @ # $ %",
    ".",
)

_WORDS_WITHOUT_LIMIT = 1024

_SUBJECTS: tuple[str, ...] = (
    "harbour boat sail rope anchor tide wave storm captain island lighthouse deck",
    "bread flour oven salt butter kitchen recipe sugar baker dough spoon table",
    "court judge law witness trial lawyer contract evidence appeal sentence prison crime",
    "forest wolf deer tree leaf river stone moss hunter path winter snow",
    "engine wheel brake motor fuel driver road truck gear mechanic tunnel bridge",
    "violin piano song choir concert melody drum singer stage rhythm opera audience",
    "doctor fever hospital nurse blood heart medicine patient surgery pain virus clinic",
    "planet star orbit telescope gravity moon rocket comet light galaxy space dust",
    "market price bank loan profit trade coin debt tax budget stock customer",
    "castle king sword knight queen battle crown tower siege army flag throne",
    "garden rose seed soil bee honey summer apple fence flower rain worm",
    "school teacher pupil lesson chalk book exam history number letter bell holiday",
    "computer keyboard screen network server file password memory cable printer program error",
    "desert camel sand sun water tent salt wind dune merchant well shadow",
    "football goal team player referee stadium coach ticket season whistle grass league",
    "paint canvas museum colour brush sculpture portrait artist frame gallery marble sketch",
)


def make_long_probe(max_tokens: int | None) -> str:
    """A text half as long again as the model takes (1,024 words when it does not say), in words that are a token or
    more each. Its subject changes four times with each doubling of its length, so that wherever a limit lies, it cuts
    off words unlike those before it."""
    length = _WORDS_WITHOUT_LIMIT if max_tokens is None else max_tokens + max_tokens // 2 + 1
    return " ".join(_generate_words(length))


def _generate_words(length: int) -> Iterator[str]:
    subject, block_end = 0, 8.0
    for position in range(length):
        if position >= block_end:
            subject, block_end = subject + 1, block_end * 2**0.25
        words = _SUBJECTS[subject % len(_SUBJECTS)].split()
        yield words[(position * 7 + position // 12) % len(words)]
