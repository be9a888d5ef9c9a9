"""Check digits and number plans, which tell a payment card from an order number."""

from collections.abc import Sequence
from string import ascii_uppercase

# Length of an IBAN by country: SWIFT's IBAN registry (ISO 13616).
_IBAN_COUNTRIES_AND_LENGTHS = """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18
    DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23
    IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31
    MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24
    SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
"""
IBAN_LENGTHS = {entry[:2]: int(entry[2:]) for entry in _IBAN_COUNTRIES_AND_LENGTHS.split()}

# Card numbers that networks issue (ISO/IEC 7812): first and last prefix, possible lengths.
_CARD_ISSUER_RANGES: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (4, 4, (13, 16, 19)),  # Visa
    (51, 55, (16,)),  # Mastercard, with the next range
    (2221, 2720, (16,)),
    (34, 34, (15,)),  # American Express, with the next range
    (37, 37, (15,)),
    (300, 305, (14, 16)),  # Diners Club, with the next two ranges
    (36, 36, (14, 16)),
    (38, 39, (14, 16)),
    (6011, 6011, (16, 19)),  # Discover, with the next range
    (644, 659, (16, 19)),
    (3528, 3589, (16, 19)),  # JCB, with the next two ranges
    (1800, 1800, (15,)),
    (2131, 2131, (15,)),
    (62, 62, (16, 17, 18, 19)),  # UnionPay
    (2200, 2204, (16,)),  # Mir
)
_MAESTRO_PREFIXES = ("5018", "5020", "5038", "5893", "6304", "6759", "6761", "6762", "6763")

# Values of the characters at odd places of a codice fiscale (D.M. 23 December 1976), 0 to 9 or A to
# Z.
_ITALIAN_ODD_VALUES = tuple(
    map(int, "1 0 5 7 9 13 15 17 19 21 2 4 18 20 11 3 6 8 12 14 16 10 22 25 24 23".split())
)


def is_valid_luhn(digits: str) -> bool:
    """Check the last digit of a card or of some national numbers (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def has_card_issuer_prefix(digits: str) -> bool:
    """Return true if a card network issues numbers of this prefix and length."""
    if digits.startswith(_MAESTRO_PREFIXES) and 12 <= len(digits) <= 19:
        return True
    return any(
        len(digits) in lengths and first <= int(digits[: len(str(first))]) <= last
        for first, last, lengths in _CARD_ISSUER_RANGES
    )


def is_valid_iban(text: str) -> bool:
    """Check the length for the country and the check digits (ISO 7064, mod 97-10).

    `text` is in capitals without spaces.
    """
    if IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


def is_us_ssn(digits: str) -> bool:
    """Check area, group and serial as the Social Security Administration issues them since 2011."""
    area, group, serial = int(digits[:3]), int(digits[3:5]), int(digits[5:])
    return area not in {0, 666} and area < 900 and group > 0 and serial > 0


def is_spanish_id(text: str) -> bool:
    """Check a DNI or NIE: the letter is the number modulo 23."""
    number = text[:-1].translate(str.maketrans("XYZ", "012"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == text[-1]


def is_french_insee(text: str) -> bool:
    """Check a numéro de sécurité sociale: 97 less the number modulo 97 (2A is 19, 2B is 18)."""
    number = text[:13].replace("2A", "19").replace("2B", "18")
    return number.isdigit() and 97 - int(number) % 97 == int(text[13:])


def is_italian_tax_code(text: str) -> bool:
    """Check a codice fiscale: the last letter depends on the values of odd and even places."""
    total = 0
    for place, character in enumerate(text[:15]):
        value = int(character, 36) - (10 if character.isalpha() else 0)
        total += value if place % 2 else _ITALIAN_ODD_VALUES[value]
    return ascii_uppercase[total % 26] == text[15]


def is_brazilian_cpf(digits: str) -> bool:
    """Check a CPF: two check digits, each modulo 11."""
    if len(set(digits)) == 1:
        return False
    return all(_cpf_check_digit(digits[:n]) == int(digits[n]) for n in (9, 10))


def _cpf_check_digit(digits: str) -> int:
    weights = range(len(digits) + 1, 1, -1)
    remainder = sum(int(d) * weight for d, weight in zip(digits, weights, strict=True)) % 11
    return 0 if remainder < 2 else 11 - remainder


def is_german_tax_id(digits: str) -> bool:
    """Check a Steueridentifikationsnummer (ISO 7064, mod 11, 10)."""
    product = 10
    for digit in digits[:10]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(digits[10])


def is_polish_pesel(digits: str) -> bool:
    """Check a PESEL."""
    return _weighted_sum(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def is_dutch_bsn(digits: str) -> bool:
    """Check a burgerservicenummer."""
    return _weighted_sum(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def is_british_nhs_number(digits: str) -> bool:
    """Check an NHS number."""
    return _weighted_sum(digits, (10, 9, 8, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0


def _weighted_sum(digits: str, weights: Sequence[int]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))
